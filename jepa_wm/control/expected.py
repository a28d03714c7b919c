"""What a controller expects to see, as pictures."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.contracts import Plan
from jepa_wm.control.album import Album
from jepa_wm.control.controller import Controller
from jepa_wm.dynamics.heads import PixelHead
from jepa_wm.goals import Goal
from jepa_wm.observations import Observation


class Step(NamedTuple):
    """Where the plan was in one step of an episode: whether it was new, all of it (K, …), and the block it was at."""

    new: bool
    blocks: Tensor
    block: int


class Expected:
    """A controller whose plans are kept, so that what they imagined can be drawn once all is over.

    A plan imagines one frame for each of its blocks of actions, the frame at the block's end; it is shown while the
    block is done. The first frame, which nothing had imagined, is the model's picture of what is seen. They are what
    the model's `PixelHead` draws; if it has none, recorded frames.

    Attributes:
        by: "head" or "nearest" frame, by which latents are shown; None if there is neither.
        first: what the first search found; None before it.
        plans: so far, an environment's each.
        evaluations: candidates judged for them.
        steps: those of each episode, in the order in which they began.

    Args:
        controller: what acts.
        album: recorded frames, for a model without a `PixelHead`.
    """

    def __init__(self, controller: Controller, album: Album | None = None) -> None:
        self.controller = controller
        head = next((each for each in controller.model.heads.values() if isinstance(each, PixelHead)), None)
        self.by = "head" if head is not None else "nearest" if album is not None else None
        self._show: Callable[[Tensor], Tensor] | None = album if head is None else _drawing(head)
        self.first: Plan | None = None
        self.plans, self.evaluations = 0, 0.0
        self.steps: list[list[Step]] = []
        self._now: dict[int, list[Step]] = {}

    def act(self, pixels: np.ndarray, active: np.ndarray, state: np.ndarray | None = None) -> np.ndarray:
        """What the controller does; see `Controller.act`."""
        actions, controller = self.controller.act(pixels, active, state), self.controller
        self.first = self.first or controller.plan
        if (planned := int(controller.planned.sum())) and controller.plan is not None:
            self.plans += planned
            self.evaluations += planned * sum(controller.plan.trace.get("evaluations", torch.zeros(1))[-1:].tolist())
        if not self._now:
            self._begin(range(len(active)))
        if self._show is not None:
            blocks = controller.blocks
            for i in np.flatnonzero(active).tolist():
                self._now[i].append(Step(bool(controller.planned[i]), blocks[i], int(controller.block[i])))
        return actions

    def begin(self, begun: np.ndarray, goal: Goal) -> None:
        """Begin another episode in some environments, bool (E,), towards what is a goal for all of them."""
        self.controller.goal = goal
        self.controller.reset(begun)
        self._begin(np.flatnonzero(begun).tolist())

    def _begin(self, environments: Iterable[int]) -> None:
        for i in environments:
            self._now[i] = []
            self.steps.append(self._now[i])

    @torch.no_grad()
    def pictures(self, frames: np.ndarray, states: np.ndarray) -> np.ndarray | None:
        """What was imagined of the first episodes; None if nothing shows it.

        Args:
            frames: what happened before the first step and after each, (F, T+1, 3, H, W).
            states: and the states (E, T+1, P).

        Returns:
            uint8 (F, T+1, 3, H, W); where nobody acted any more, the last picture stands still.
        """
        if self._show is None or not len(frames):
            return None if self._show is None else frames
        model, count, show = self.controller.model, len(frames), self._show
        shown = [_pixels(show(model.latents_of(self._seen(frames[:, 0], states[:count, 0]))), frames.shape[-2:])]
        future = np.repeat(shown[0][:, None], self.controller.search.horizon, axis=1)
        for number in range(frames.shape[1] - 1):
            steps = {i: own[number] for i, own in enumerate(self.steps[:count]) if number < len(own)}
            new = [i for i, step in steps.items() if step.new]
            if new:
                seen = self._seen(frames[new, number], states[new, number])
                blocks = torch.stack([steps[i].blocks for i in new])
                imagined = model.imagine(seen.pixels, blocks, state=seen.state)
                future[new] = _pixels(show(imagined.latents), frames.shape[-2:])
            shown.append(shown[-1].copy())
            for i, step in steps.items():
                shown[-1][i] = future[i, step.block]
        return np.stack(shown, axis=1)

    def _seen(self, pixels: np.ndarray, states: np.ndarray) -> Observation:
        return self.controller.sight.see(pixels, states)[0]


def _drawing(head: PixelHead) -> Callable[[Tensor], Tensor]:
    weights = next(head.parameters())
    return lambda latents: head(latents.to(weights))  # which may be in bfloat16


def _pixels(drawn: Tensor, size: tuple[int, ...]) -> np.ndarray:
    """Pictures (..., 3, h, w), between 0 and 1, as pixels uint8 (..., 3, H, W)."""
    pictures = F.interpolate(drawn.flatten(0, -4).float(), tuple(size), mode="bilinear", antialias=True)
    return pictures.mul(255).round().byte().unflatten(0, drawn.shape[:-3]).cpu().numpy()
