"""Points that go downhill side by side, each with a step of its own that is halved until the cost falls."""

from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jepa_wm.contracts import Generators
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.planning.iterative import Iterative
from jepa_wm.planning.sampling import gaussian, mean_cost, white
from jepa_wm.planning.slopes import slopes

ENOUGH = 1e-4
"""The share of what the slope promises by which a cost has to fall (Armijo)."""

SMALLEST = 2.0**-10
"""A point whose step is shorter rests, and starts anew somewhere else."""


@dataclass(frozen=True)
class Slope:
    """Where points stand and which way is up.

    Args:
        gradient: of their costs, (E, S, K, A); 0 in directions that lead out of the bounds.
        free: 1 where they may move, 0 where a bound is in the way.
        scale: how far an action may reasonably go in one step, (E, 1, K, A).
        pairs: latest last, what points moved by and what their gradients then changed by; both 0 if they stood still.
    """

    gradient: Tensor
    free: Tensor
    scale: Tensor
    pairs: Sequence[tuple[Tensor, Tensor]]


class Descent(Iterative):
    """One trial of each of S points a round: it goes there if the cost falls, else it tries half the step.

    A point that rests starts anew, drawn around the mean. A subclass says which way is down.

    Attributes:
        restarts: points S.
        iterations: rounds.
        memory: how many of the latest moves are remembered.
        growth: times by which a step grows after the cost has fallen, to a whole step at most.
    """

    restarts: int
    iterations: int
    memory: int = 0
    growth: float = 1.0

    @abstractmethod
    def direction(self, slope: Slope) -> Tensor:
        """A whole step (E, S, K, A) of each point."""

    def search(self, best: Incumbent, std: Tensor, generator: Generators) -> None:
        start, scale = best.actions, std[:, None]
        trial = best.clamp(gaussian(start, std, self.restarts, generator))
        points, gradient = trial, torch.zeros_like(trial)
        costs = torch.full_like(trial[:, :, 0, 0], torch.inf)
        step = torch.ones_like(costs)
        pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=self.memory)
        for count in best.rounds(self.iterations, self.restarts):
            found, slope = slopes(best, trial, count)
            fell = found < costs + ENOUGH * dot(gradient, trial - points).clamp(max=0)
            moved = fell[..., None, None]
            pairs.append(((trial - points) * moved, (slope - gradient) * moved))
            points, gradient = trial.where(moved, points), slope.where(moved, gradient)
            costs, step = found.where(fell, costs), (step * self.growth).clamp(max=1).where(fell, step / 2)
            best.note(spread=points.std(dim=1, correction=0).mean(dim=(1, 2)), elites=mean_cost(costs))
            free = ~((points <= best.low) & (gradient > 0) | (points >= best.high) & (gradient < 0))
            down = self.direction(Slope(gradient * free, free, scale, pairs))
            trial = best.clamp(points + step[..., None, None] * down)
            rests = (step < SMALLEST) | costs.isinf() | (trial == points).flatten(2).all(dim=-1)
            anew = best.clamp(start[:, None] + scale * white(self.restarts, start, generator))
            costs, step = costs.masked_fill(rests, torch.inf), step.masked_fill(rests, 1)
            points, trial = (anew.where(rests[..., None, None], x) for x in (points, trial))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Products (…) of points (…, K, A)."""
    return (a * b).sum(dim=(-2, -1))
