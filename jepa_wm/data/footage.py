"""What clips are cut from: an episode or a video, of which only the frames asked for are decoded."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from jepa_wm.data.episodes import LATENTS, Form, decode_frames, read_arrays, read_header, read_latents
from jepa_wm.data.images import class_of
from jepa_wm.data.video import EXTENSIONS, Video


class Footage(Protocol):
    """Frames in a row, and what is known of them.

    Attributes:
        frames: how many there are.
        shows: what is known of each: "pixels", or "latents" that an encoder made of them.
    """

    frames: int
    shows: str

    def shown(self, at: Sequence[int]) -> np.ndarray:
        """It, of the frames numbered `at`, ascending and distinct: uint8 (n, H, W, 3), or float32 (n, N, D)."""
        ...

    def facts(self, times: np.ndarray) -> dict[str, Any]:
        """What is known of a clip whose frames are at `times` (T,), evenly spaced, past the end perhaps."""
        ...


class Recorded:
    """An episode: facts are `actions` float32 (T-1, steps * A), `reward` (T-1,), `state` (T, P) and `captions` (T).

    Where it is known how it ended, `ends` float32 (T-1,) is 1 where it was over by itself at the frame that is reached.
    The actions of all steps between two frames are side by side, their rewards summed. Past the episode's end actions
    and rewards are 0, and the last state and caption are repeated.
    """

    shows = "pixels"

    def __init__(self, members: dict[str, bytes], form: Form) -> None:
        self.header = read_header(members, form)
        self.frames = self.header.frames
        self.actions, self.state, self.reward = read_arrays(members, self.frames, form)
        self._members = members

    def shown(self, at: Sequence[int]) -> np.ndarray:
        """See `Footage`."""
        out = np.empty((len(at), self.header.height, self.header.width, 3), np.uint8)
        decode_frames(self._members, self.header, at, out)
        return out

    def facts(self, times: np.ndarray) -> dict[str, Any]:
        """See `Footage`."""
        count, at = len(times) - 1, np.minimum(times, self.frames - 1)
        steps = int(times[1] - times[0]) if count else 1
        facts = {
            "actions": _between(self.actions, times).reshape(count, steps * self.actions.shape[1]),
            "reward": _between(self.reward, times).reshape(count, steps).sum(axis=1),
            "state": self.state[at],
            "captions": [self.header.captions[time] for time in at.tolist()],
        }
        if self.header.terminated is not None:
            facts["ends"] = ((times[1:] >= self.frames - 1) & self.header.terminated).astype(np.float32)
        return facts


def _between(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The rows of the steps from the first to the last of `times`; zeros past the end."""
    start, stop = int(times[0]), int(times[-1])
    rows = rows[start:stop]
    missing = stop - start - len(rows)
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)]) if missing else rows


class Encoded(Recorded):
    """An episode of whose frames only the latents are read, which `jepa-wm encode` put beside them."""

    shows = "latents"

    def shown(self, at: Sequence[int]) -> np.ndarray:
        """See `Footage`."""
        return read_latents(self._members, self.frames)[at].astype(np.float32)


class Filmed:
    """A video: facts are `captions`, its own for each frame ("" without `txt`), and `labels`, its `cls` (else -1)."""

    shows = "pixels"

    def __init__(self, members: dict[str, bytes]) -> None:
        self._video = Video(next(members[extension] for extension in EXTENSIONS if extension in members))
        self.frames = self._video.frames
        self._caption, self._label = members.get("txt", b"").decode(), class_of(members)

    def shown(self, at: Sequence[int]) -> np.ndarray:
        """See `Footage`."""
        return self._video.read(at)

    def facts(self, times: np.ndarray) -> dict[str, Any]:
        """See `Footage`."""
        return {"captions": [self._caption] * len(times), "labels": self._label}


def open_footage(members: dict[str, bytes], form: Form) -> Footage:
    """The episode, of `form`, or the video that the contents of a sample's members are, by extension.

    Raises:
        ValueError, …: whatever the parsers raise on what is neither.
    """
    if any(extension in members for extension in EXTENSIONS):
        return Filmed(members)
    if any(extension.startswith("frames.") for extension in members):
        return Recorded(members, form)
    if LATENTS in members:
        return Encoded(members, form)
    raise ValueError(f"it is neither an episode nor a video; its members are {sorted(members)}")
