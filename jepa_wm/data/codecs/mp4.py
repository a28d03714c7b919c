"""H.264: the smallest by far, since most of a frame is like the one before; decoded from key frames on."""

import io
from collections.abc import Sequence
from typing import Any

import av
import numpy as np

from jepa_wm.data.video import Video

KEY_FRAMES = 10
"""Frames from one key frame to the next: fewer cost bytes, more cost time where clips begin anywhere."""


def encode(frames: np.ndarray, quality: int = 76) -> bytes:
    """Frames uint8 (T, H, W, 3) -> an mp4 of `quality` 1 to 100, 100 being the best; odd sides get a line more."""
    data = io.BytesIO()
    _, height, width, _ = frames.shape
    with av.open(data, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt, stream.gop_size = "yuv420p", KEY_FRAMES
        # B frames would have to be decoded with their successors; one thread, so that the bytes are always the same.
        stream.codec_context.max_b_frames, stream.codec_context.thread_count = 0, 1
        # With its macroblock tree x264 does not always make the same bytes of the same frames.
        stream.options = {"preset": "medium", "tune": "fastdecode", "x264-params": "mbtree=0"}
        stream.options |= {"crf": str(round((100 - quality) * 51 / 100))}
        for picture in np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge"):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return data.getvalue()


def decode(data: bytes, total: int, at: Sequence[int], out: Any) -> None:
    """Decode some frames into rows that are there; see `mjpeg.decode`.

    Raises:
        ValueError: if it does not hold `total` frames of the rows' size.
    """
    video = Video(data)
    height, width = out[0].shape[:2]
    if (video.frames, video.height, video.width) != (total, height + height % 2, width + width % 2):
        raise ValueError(
            f"it is {video.frames} frames of {video.height} x {video.width}; expected {total} of {height} x {width}"
        )
    for row, picture in zip(out, video.read(at), strict=True):
        row[:] = picture[:height, :width]
