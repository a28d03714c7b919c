"""An episode, in memory and as the members of a webdataset sample."""

import io
import json
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple

import numpy as np

from jepa_wm.data import codecs
from jepa_wm.errors import UserError

ARRAYS = ("actions", "state", "reward")
METADATA = ("json", *(f"{name}.npy" for name in ARRAYS))
"""The members of an episode beside its frames."""
LATENTS = "latents.npy"
"""The member with what an encoder made of the frames, where there is one: float16 (T, N, D)."""
MAX_PIXELS = 2**28
DEFAULT_CODEC = "mjpeg"


class Episode(NamedTuple):
    """One recorded episode of T frames, in numpy.

    Attributes:
        frames: uint8 (T, 3, H, W).
        actions: float32 (T-1, A); `actions[t]` leads from frame t to frame t+1.
        state: float32 (T, P).
        reward: float32 (T-1,); `reward[t]` came with frame t+1.
        captions: a sentence for each of the T frames.
        factors: factors of variation, by name: a number, or a list of them (a colour).
        id: its name in the split: letters, digits, `-` and `_`.
        terminated: whether it ended by itself at the last frame, and not for want of time; None where nobody knows.
    """

    frames: np.ndarray
    actions: np.ndarray
    state: np.ndarray
    reward: np.ndarray
    captions: list[str]
    factors: dict[str, Any]
    id: str
    terminated: bool | None = None


class Header(NamedTuple):
    """What an episode's metadata say: the shape of its frames, and what has no array."""

    frames: int
    height: int
    width: int
    captions: list[str]
    factors: dict[str, Any]
    terminated: bool | None = None


NEEDED = [name for name in Header._fields if name not in Header._field_defaults]


class Form(NamedTuple):
    """What all episodes of a set have in common, None where that is not known.

    Attributes:
        height: of a frame.
        width: of a frame.
        actions: columns A.
        state: columns P.
    """

    height: int | None = None
    width: int | None = None
    actions: int | None = None
    state: int | None = None


ANY = Form()


def encode(episode: Episode, codec: str = DEFAULT_CODEC, quality: int | None = None) -> dict[str, bytes]:
    """An episode -> the contents of its members, by extension.

    Args:
        episode: what to write.
        codec: how frames are stored: a module of `jepa_wm.data.codecs`.
        quality: of a codec that loses some; None for the codec's own.

    Raises:
        UserError: if the parts of the episode do not fit together, it has too many pixels, or
            there is no such codec.
    """
    try:
        check(episode)
        module = _codec(codec)
        frames = np.ascontiguousarray(episode.frames.transpose(0, 2, 3, 1))
        encoded = module.encode(frames) if quality is None else module.encode(frames, quality)
    except ValueError as error:
        raise UserError(f"episode '{episode.id}' cannot be written: {error}") from error
    count, height, width, _ = frames.shape
    header = Header(count, height, width, episode.captions, episode.factors, episode.terminated)._asdict()
    if episode.terminated is None:
        del header["terminated"]  # as it is missing in what was written before there was such a thing
    return {
        f"frames.{codec}": encoded,
        **{f"{name}.npy": _npy(getattr(episode, name)) for name in ARRAYS},
        "json": json.dumps(header, allow_nan=False).encode(),
    }


def decode(members: dict[str, bytes], key: str, form: Form = ANY) -> Episode:
    """The contents of members, by extension -> an episode of `form`; never unpickles, never inflates a bomb.

    Raises:
        ValueError, OSError, …: whatever the parsers raise on what is not an episode.
    """
    header = read_header(members, form)
    frames = np.empty((header.frames, header.height, header.width, 3), np.uint8)
    decode_frames(members, header, range(header.frames), frames)
    arrays = read_arrays(members, header.frames, form)
    return Episode(frames.transpose(0, 3, 1, 2), *arrays, header.captions, header.factors, key, header.terminated)


def read_header(members: dict[str, bytes], form: Form = ANY) -> Header:
    """The metadata of an episode, checked: a ValueError says what is wrong with them."""
    meta = json.loads(_member(members, "json").decode())
    if not isinstance(meta, dict) or (missing := [name for name in NEEDED if name not in meta]):
        raise ValueError(f"its json lacks {missing if isinstance(meta, dict) else NEEDED}")
    header = Header(**{name: meta[name] for name in Header._fields if name in meta})
    if not all(isinstance(number, int) and number > 0 for number in header[:3]):
        raise ValueError(f"its frames are said to be {header[:3]} in number, height and width")
    if any(a not in (None, b) for a, b in zip((form.height, form.width), header[1:3], strict=True)):
        raise ValueError(f"its frames are {header.height} x {header.width}; the others' {form.height} x {form.width}")
    _check_pixels(header.frames * header.height * header.width)
    _check_text(header.captions, header.factors, header.frames)
    _check_end(header.terminated)
    return header


def read_arrays(members: dict[str, bytes], frames: int, form: Form = ANY) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Actions (T-1, A), state (T, P) and reward (T-1,), checked: a ValueError says what is wrong with them."""
    arrays = {name: _array(_member(members, f"{name}.npy")) for name in ARRAYS}
    _check_arrays(arrays, frames, form)
    return arrays["actions"], arrays["state"], arrays["reward"]


def read_latents(members: dict[str, bytes], frames: int) -> np.ndarray:
    """The latents float16 (T, N, D) of all frames, checked: a ValueError says what is wrong with them."""
    latents = _array(_member(members, LATENTS))
    if latents.dtype != np.float16 or latents.ndim != 3 or len(latents) != frames:
        raise ValueError(f"latents are {latents.dtype} {latents.shape}; expected float16 ({frames}, N, D)")
    if not np.isfinite(latents).all():
        raise ValueError("latents hold NaN or infinity")
    return latents


def decode_frames(members: dict[str, bytes], header: Header, at: Sequence[int], out: Any) -> None:
    """Write the frames numbered `at`, ascending, into the rows of `out`: uint8 (len(at), H, W, 3)."""
    extension = next((name for name in members if name.startswith("frames.")), None)
    if extension is None:
        raise ValueError(f"it lacks 'frames.…'; it has {sorted(members)}")
    _codec(extension.partition(".")[2]).decode(members[extension], header.frames, at, out)


def check(episode: Episode) -> None:
    """Raise a ValueError that says which part of `episode` does not fit the others."""
    frames = episode.frames
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1] != 3 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; expected uint8 (T, 3, H, W), T and all else > 0")
    _check_pixels(frames.size // 3)
    _check_arrays({name: getattr(episode, name) for name in ARRAYS}, len(frames))
    _check_text(episode.captions, episode.factors, len(frames))
    _check_end(episode.terminated)


def _check_arrays(arrays: dict[str, np.ndarray], frames: int, form: Form = ANY) -> None:
    shapes: dict[str, tuple[int | None, ...]] = {
        "actions": (frames - 1, form.actions),
        "state": (frames, form.state),
        "reward": (frames - 1,),
    }
    for name, array in arrays.items():
        shape = shapes[name]
        fits = array.ndim == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
        if array.dtype != np.float32 or not fits:
            raise ValueError(f"{name} is {array.dtype} {array.shape}; expected float32 {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")


def _check_text(captions: Any, factors: Any, frames: int) -> None:
    if (
        not isinstance(captions, list)
        or len(captions) != frames
        or not all(isinstance(caption, str) for caption in captions)
    ):
        raise ValueError(f"captions are not a list of {frames} sentences")
    if not isinstance(factors, dict):
        raise ValueError("factors are not a dictionary")


def _check_end(terminated: Any) -> None:
    if not isinstance(terminated, bool | None):
        raise ValueError(f"terminated is {terminated!r}; expected true or false, or nothing where it is not known")


def _check_pixels(pixels: int) -> None:
    if pixels > MAX_PIXELS:
        raise ValueError(f"its frames have {pixels} pixels; at most {MAX_PIXELS} are accepted")


@cache
def _codec(name: str) -> Any:
    known = sorted(module.name for module in iter_modules(codecs.__path__))
    # Names come from shards, and importing is running.
    if name not in known:
        raise ValueError(f"there is no way '{name}' of storing frames; there are {', '.join(known)}")
    return import_module(f"{codecs.__name__}.{name}")


def _member(members: dict[str, bytes], extension: str) -> bytes:
    if extension not in members:
        raise ValueError(f"it lacks '{extension}'; it has {sorted(members)}")
    return members[extension]


def _array(data: bytes) -> np.ndarray:
    # The magic and the length of the header take 10 bytes.
    shape, by_column, dtype, end = _array_header(data[: 10 + int.from_bytes(data[8:10], "little")])
    # Neither allocates what the header says, nor unpickles: the bytes that are there are all there is.
    return np.frombuffer(data, dtype, offset=end).reshape(shape, order="F" if by_column else "C").copy()


@lru_cache(maxsize=4096)
def _array_header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    # Remembered, since parsing takes ten times as long as reading, and most episodes have the same.
    file = io.BytesIO(data)
    if (version := np.lib.format.read_magic(file)) != (1, 0):
        raise ValueError(f"an array is of format {version}; expected (1, 0)")
    return *np.lib.format.read_array_header_1_0(file), file.tell()


def _npy(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    return data.getvalue()
