"""What a controller expects to see, as pictures."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.contracts import Plan
from jepa_wm.control.controller import Controller
from jepa_wm.dynamics.heads import PixelHead
from jepa_wm.observations import Observation


class Step(NamedTuple):
    """Where plans were in one step: which were new (E,), all of them (E, K, …), and the block each was at (E,)."""

    new: np.ndarray
    blocks: Tensor
    block: np.ndarray


class Expected:
    """A controller whose plans are kept, so that what they imagined can be drawn once all is over.

    A plan imagines one frame for each of its blocks of actions, the frame at the block's end; it is shown while the
    block is done. The first frame, which nothing had imagined, is the model's picture of what is seen.

    Attributes:
        first: what the first search found; None before it.

    Args:
        controller: what acts.
    """

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        heads = controller.model.heads.items()
        self.head = next((name for name, head in heads if isinstance(head, PixelHead)), None)
        self.steps: list[Step] = []
        self.first: Plan | None = None

    def act(self, pixels: np.ndarray, active: np.ndarray, state: np.ndarray | None = None) -> np.ndarray:
        """What the controller does; see `Controller.act`."""
        actions = self.controller.act(pixels, active, state)
        self.first = self.first or self.controller.plan
        if self.head is not None:
            self.steps.append(Step(self.controller.planned, self.controller.blocks, self.controller.block))
        return actions

    @torch.no_grad()
    def pictures(self, frames: np.ndarray, states: np.ndarray) -> np.ndarray | None:
        """What was imagined of the first environments; None if the model has no `PixelHead`.

        Args:
            frames: what happened before the first step and after each, (F, T+1, 3, H, W).
            states: and the states (E, T+1, P).

        Returns:
            uint8 (F, T+1, 3, H, W); where nobody acted any more, the last picture stands still.
        """
        if self.head is None or not len(frames):
            return None if self.head is None else frames
        model, count, draw = self.controller.model, len(frames), self.controller.model.heads[self.head]
        seen = [self._seen(frames[:, step], states[:count, step]) for step in range(frames.shape[1])]
        shown = [_pixels(draw(model.latents_of(seen[0])), frames.shape[-2:])]
        future = np.repeat(shown[0][:, None], self.controller.search.horizon, axis=1)
        for now, (new, blocks, block) in zip(seen, self.steps, strict=False):
            fresh = torch.from_numpy(new[:count])
            if fresh.any():
                given = now.of(fresh)
                imagined = model.imagine(given.pixels, blocks[:count][fresh], state=given.state)
                future[fresh.numpy()] = _pixels(imagined.readouts[self.head], frames.shape[-2:])
            shown.append(future[np.arange(count), block[:count]])
        return np.stack(shown + shown[-1:] * (frames.shape[1] - len(shown)), axis=1)

    def _seen(self, pixels: np.ndarray, states: np.ndarray) -> Observation:
        return self.controller.sight.see(pixels, states)[0]


def _pixels(drawn: Tensor, size: tuple[int, ...]) -> np.ndarray:
    """What a head draws (..., 3, h, w), between 0 and 1, as pixels uint8 (..., 3, H, W)."""
    pictures = F.interpolate(drawn.flatten(0, -4), tuple(size), mode="bilinear", antialias=True)
    return pictures.mul(255).round().byte().unflatten(0, drawn.shape[:-3]).cpu().numpy()
