"""Episodes as animated pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

SCALE = 3
MILLISECONDS = 80


def write_film(path: Path, frames: np.ndarray, goal: np.ndarray | None) -> None:
    """Write an animated WebP of frames (T, C, H, W), with the goal image (C, H, W) beside them if there is one."""
    pictures = [_picture(frame if goal is None else _beside(frame, goal)) for frame in frames]
    still = [MILLISECONDS] * (len(pictures) - 1) + [1000]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=still, loop=0, lossless=True)


def _beside(frame: np.ndarray, goal: np.ndarray) -> np.ndarray:
    gutter = np.full((frame.shape[0], frame.shape[1], 3), 255, dtype=np.uint8)
    return np.concatenate([frame, gutter, goal], axis=2)


def _picture(pixels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(pixels.transpose(1, 2, 0))
    return picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.NEAREST)
