"""Every way of storing frames: the frames asked for come back, and hostile bytes give ValueErrors or pixels."""

import struct
from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jepa_wm.data import codecs

NAMES = sorted(module.name for module in iter_modules(codecs.__path__))
PSNR = {"png": np.inf, "mjpeg": 31, "webp": 31, "mp4": 30}
"""Least fidelity in decibels; a new codec has to be given one."""


@pytest.fixture(params=NAMES)
def codec(request):
    return import_module(f"jepa_wm.data.codecs.{request.param}")


def film(frames=25, height=48, width=64):
    """A smooth picture under which a square moves, one colour a frame."""
    rng = np.random.default_rng(0)
    ground = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    film = np.stack([np.asarray(ground)] * frames)
    for t in range(frames):
        film[t, 8:24, t : t + 16] = (40, 60, 10 * t)
    return film


def decoded(codec, data, total, at, like):
    out = np.zeros((len(at), *like.shape[1:]), np.uint8)
    codec.decode(data, total, at, out)
    return out


def psnr(one, other):
    error = np.square(one.astype(float) - other).mean()
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


@pytest.mark.parametrize("size", [(48, 64), (47, 33)])
def test_all_frames_come_back_in_order(codec, size):
    frames = film(25, *size)
    back = decoded(codec, codec.encode(frames), 25, range(25), frames)
    assert psnr(back, frames) >= PSNR[codec.__name__.rpartition(".")[2]]
    assert all(psnr(back, np.roll(frames, step, axis=0)) < 29 for step in (-1, 1))


@pytest.mark.parametrize("at", [[0], [24], [3, 4, 5], [0, 9, 10, 11, 23], [1, 6, 11, 16], [19, 20]])
def test_any_frames_are_those_of_the_whole(codec, at):
    frames = film()
    data = codec.encode(frames)
    whole = decoded(codec, data, 25, range(25), frames)
    np.testing.assert_array_equal(decoded(codec, data, 25, at, frames), whole[at])


def test_rows_may_lie_anywhere(codec):
    frames = film()
    rows = [np.zeros(frames.shape[1:], np.uint8) for _ in range(2)]
    data = codec.encode(frames)
    codec.decode(data, 25, [2, 7], rows)
    np.testing.assert_array_equal(np.stack(rows), decoded(codec, data, 25, [2, 7], frames))


def test_the_same_frames_give_the_same_bytes(codec):
    assert codec.encode(film()) == codec.encode(film())


def test_quality_trades_bytes_for_fidelity(codec):
    frames = film()
    if codec.__name__.endswith("png"):
        assert len(codec.encode(frames, 9)) < len(codec.encode(frames, 0))
        return
    low, high = (codec.encode(frames, quality) for quality in (40, 95))
    assert len(low) < 0.8 * len(high)
    assert (
        psnr(decoded(codec, low, 25, range(25), frames), frames)
        < psnr(decoded(codec, high, 25, range(25), frames), frames) - 1
    )


@pytest.mark.parametrize(
    ("total", "height", "width"), [(24, 48, 64), (26, 48, 64), (25, 64, 48), (25, 40, 64), (25, 96, 128)]
)
def test_another_number_or_size_is_refused(codec, total, height, width):
    data = codec.encode(film())
    with pytest.raises(ValueError):
        codec.decode(data, total, [0, 3], np.zeros((2, height, width, 3), np.uint8))


@settings(max_examples=150, deadline=2000)
@given(
    place=st.floats(0, 1, exclude_max=True),
    new=st.binary(max_size=60),
    cut=st.integers(0, 3000),
    name=st.sampled_from(NAMES),
)
def test_damage_gives_an_error_or_pixels(place, new, cut, name):
    codec = import_module(f"jepa_wm.data.codecs.{name}")
    frames = film(12)
    data = codec.encode(frames)
    at = int(place * len(data))
    try:
        decoded(codec, data[:at] + new + data[at + cut :], 12, [0, 5, 11], frames)
    except ValueError as error:
        assert str(error)


@settings(max_examples=50, deadline=2000)
@given(data=st.binary(max_size=200), name=st.sampled_from(NAMES))
def test_rubbish_is_refused(data, name):
    with pytest.raises(ValueError):
        decoded(import_module(f"jepa_wm.data.codecs.{name}"), data, 3, [0, 2], film(3))


def test_a_webp_that_lies_about_its_length_ends():
    from jepa_wm.data.codecs import webp

    with pytest.raises(ValueError):
        webp.decode(b"RIFF" + struct.pack("<I", 0) * 1000, 3, [0], np.zeros((1, 4, 4, 3), np.uint8))


def test_noise_is_stored_too():
    """Pillow writes small JPEGs by way of a buffer that noise does not fit."""
    mjpeg = import_module("jepa_wm.data.codecs.mjpeg")
    frames = np.random.default_rng(0).integers(0, 256, (2, 320, 320, 3), dtype=np.uint8)
    for quality in (88, 100):
        out = np.empty_like(frames)
        mjpeg.decode(mjpeg.encode(frames, quality), 2, [0, 1], out)
        assert np.abs(out.astype(int) - frames).mean() < 20


def test_a_png_that_could_not_be_read_again_is_not_written():
    frames = np.broadcast_to(np.uint8(0), (700, 512, 512, 3))
    with pytest.raises(ValueError, match=r"got 183,500,800 pixels; expected 89,000,000 at most"):
        import_module("jepa_wm.data.codecs.png").encode(frames)
