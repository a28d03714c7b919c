"""Episodes as animated pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SCALE = 3
MILLISECONDS = 80


def write_film(path: Path, frames: np.ndarray, goal: np.ndarray | None, imagined: np.ndarray | None = None) -> None:
    """Write an animated WebP of frames (T, C, H, W).

    Beside them is what was imagined for then (T, C, H, W), and the goal image (C, H, W), where there are such.
    """
    still = None if goal is None else np.broadcast_to(goal, frames.shape)
    panels = [panel for panel in (frames, imagined, still) if panel is not None]
    pictures = [_picture(_beside(shown)) for shown in zip(*panels, strict=True)]
    times = [MILLISECONDS] * (len(pictures) - 1) + [1000]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=times, loop=0, lossless=True)


def _beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    gutter = np.full((*panels[0].shape[:-1], 3), 255, dtype=np.uint8)
    return np.concatenate([part for panel in panels for part in (gutter, panel)][1:], axis=-1)


def _picture(pixels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(pixels.transpose(1, 2, 0))
    return picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.NEAREST)
