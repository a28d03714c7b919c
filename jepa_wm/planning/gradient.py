"""Gradient descent on actions, with Adam."""

import torch
from torch import Tensor

from jepa_wm.contracts import Generators
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.planning.iterative import Iterative
from jepa_wm.planning.sampling import gaussian, mean_cost, white
from jepa_wm.planning.slopes import slopes

FADING = (0.9, 0.999)
"""What Adam keeps of its mean gradient and of its mean squared gradient at each step."""


class GradientPlanner(Iterative):
    """Go down the cost's gradient from several starts at once, with Adam; after each step back within the bounds.

    All lengths are shares of the spread at the start, so the unit of an action does not matter. One start is the mean,
    which goes down without noise; the others are drawn around it. A point without a finite cost starts anew.

    Args:
        restarts: starts S; each is a candidate a round.
        iterations: rounds.
        rate: how far a step goes at most, about.
        noise: spread of what is added to actions after each step, to get over small hills.

    Raises:
        UserError: if a count is below 1, or a length below 0; from `plan`, if the cost cannot be differentiated.

    Source: Adam, arXiv 1412.6980; on actions in latent space: UPN (arXiv 1804.00645), with noise as DINO-WM
    (arXiv 2411.04983), neither of which keeps to bounds, nor the best candidate that was judged.
    """

    def __init__(self, restarts: int = 16, iterations: int = 40, rate: float = 0.2, noise: float = 0.01) -> None:
        self.restarts, self.iterations, self.rate, self.noise = restarts, iterations, rate, noise
        self._require(min(restarts, iterations) >= 1 and rate > 0 <= noise, "counts of 1 or more, rate > 0, noise >= 0")

    def search(self, best: Incumbent, std: Tensor, generator: Generators) -> None:
        start, scale = best.actions, std[:, None]
        points = best.clamp(gaussian(start, std, self.restarts, generator))
        first, second = torch.zeros_like(points), torch.zeros_like(points)
        for done, count in enumerate(best.rounds(self.iterations, self.restarts), start=1):
            costs, slope = slopes(best, points, count)
            best.note(spread=points.std(dim=1, correction=0).mean(dim=(1, 2)), elites=mean_cost(costs))
            lost = costs.isinf()[..., None, None]
            first = torch.lerp(slope, first, FADING[0]).masked_fill(lost, 0)
            second = torch.lerp(slope.square(), second, FADING[1])
            unbiased = second.div(1 - FADING[1] ** done).sqrt()
            step = first / (1 - FADING[0] ** done) / torch.where(unbiased > 0, unbiased, 1)
            noise = white(self.restarts, start, generator)
            shake = torch.cat([torch.zeros_like(noise[:, :1]), self.noise * noise[:, 1:]], dim=1)
            points = points + scale * (shake - self.rate * step)
            points = best.clamp((start[:, None] + scale * noise).where(lost, points))
