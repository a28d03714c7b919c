"""Frames of mp4 and webm files, by number."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np

EXTENSIONS = ("mp4", "webm")
MAX_PIXELS = 2**26


class Video:
    """A video in memory; frames are numbered in the order in which they are shown.

    The packets are counted and not what the header says of them, which is often wrong; nothing is decoded
    before it is asked for.

    Args:
        data: the bytes of an mp4 or webm file.

    Attributes:
        frames: how many it has.
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        fps: frames a second, on average.

    Raises:
        ValueError: if there is no video in it.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        with self._open() as (container, stream):
            self.height, self.width = stream.height, stream.width
            if not 0 < self.height * self.width <= MAX_PIXELS:
                raise ValueError(f"it is {self.width} x {self.height}; 1 to {MAX_PIXELS} pixels are accepted")
            packets = [packet for packet in container.demux(stream) if packet.pts is not None and packet.size]
            # Shown in the order of their time stamps, which is not the order they are stored in.
            self._times = sorted({packet.pts for packet in packets if not packet.is_discard})
            self._starts = np.array(sorted(packet.pts for packet in packets if packet.is_keyframe), np.int64)
            self.fps = float(stream.average_rate or Fraction(0))
        self.frames = len(self._times)
        if not self.frames:
            raise ValueError("it has no frames")

    def read(self, at: Sequence[int]) -> np.ndarray:
        """Decode frames.

        Args:
            at: their numbers, ascending and distinct.

        Returns:
            uint8 (len(at), H, W, 3).

        Raises:
            ValueError: if one of them cannot be decoded.
        """
        out = np.empty((len(at), self.height, self.width, 3), np.uint8)
        wanted = [self._times[number] for number in at]
        found = 0
        with self._open() as (container, stream):
            while found < len(wanted):
                container.seek(wanted[found], stream=stream)
                before = found
                for frame in container.decode(stream):
                    if found == len(wanted) or self._is_nearer_by_seeking(frame.pts, wanted[found]):
                        break
                    if frame.pts == wanted[found]:
                        if (frame.height, frame.width) != (self.height, self.width):
                            raise ValueError(f"frame {at[found]} is {frame.width} x {frame.height}")
                        out[found] = frame.to_ndarray(format="rgb24")
                        found += 1
                if found == before:
                    raise ValueError(f"frame {at[found]} cannot be decoded")
        return out

    def _is_nearer_by_seeking(self, here: int, wanted: int) -> bool:
        """Whether a frame from which decoding can begin lies between the one just decoded and the one wanted."""
        begin, end = np.searchsorted(self._starts, [here, wanted], side="right")
        return bool(end > begin)

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        """The container and its first video stream; what goes wrong with them is a ValueError."""
        # Named by its first bytes: left to guess, FFmpeg would take playlists too, and open what they list.
        form = "matroska" if self._data[:4] == b"\x1a\x45\xdf\xa3" else "mov"
        try:
            with av.open(io.BytesIO(self._data), format=form, metadata_errors="ignore") as container:
                stream = container.streams.video[0]
                stream.thread_type = "NONE"
                yield container, stream
        # Streams of a codec that is not known lack attributes; there may be no stream at all.
        except (av.FFmpegError, OSError, AttributeError, IndexError, OverflowError) as error:
            raise ValueError(f"it is no video, or a broken one: {error}") from error
