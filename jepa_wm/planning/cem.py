"""The cross-entropy method."""

import torch
from torch import Tensor

from jepa_wm.contracts import Generators
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.planning.iterative import Iterative
from jepa_wm.planning.sampling import fit, gaussian, lowest, mean_cost


class CEM(Iterative):
    """Sample, keep the best, fit a Gaussian to them, repeat.

    Candidates are clipped to the bounds before they are judged. The mean of each round is among its candidates, the
    mean that is fitted last is the last round's last candidate (of a budget in seconds nobody knows which that is), and
    the best ever seen is returned, so no round can lose it. A candidate without a finite cost is never fitted to.

    Args:
        samples: candidates S a round.
        elites: how many of them the Gaussian is fitted to.
        iterations: rounds.
        momentum: share of the old mean and spread kept at each fit.
        min_std: share of the spread at the start below which no dimension falls.

    Raises:
        UserError: if the counts make no sense.

    Source: Rubinstein & Kroese 2004; as a planner in latent space: PlaNet (arXiv 1811.04551).
    """

    def __init__(
        self,
        samples: int = 256,
        elites: int = 25,
        iterations: int = 10,
        momentum: float = 0.1,
        min_std: float = 0.05,
    ) -> None:
        self.samples, self.elites, self.iterations = samples, elites, iterations
        self.momentum, self.min_std = momentum, min_std
        self._require(0 < elites <= samples and iterations >= 1, "0 < elites <= samples and iterations >= 1")
        self._require(0 <= momentum < 1 and min_std >= 0, "0 <= momentum < 1 and min_std >= 0")

    def search(self, best: Incumbent, std: Tensor, generator: Generators) -> None:
        mean, floor = best.actions, self.min_std * std
        for samples in best.rounds(self.iterations, self.samples):
            ends = best.ends(samples)
            candidates = best.clamp(gaussian(mean, std, samples - ends, generator))
            elites, costs = lowest(candidates, best.judge(candidates), self.elites)
            found = fit(elites, costs.isfinite().to(elites), mean, std)
            mean, std = (torch.lerp(new, old, self.momentum) for new, old in zip(found, (mean, std), strict=True))
            std = std.maximum(floor)
            if ends:
                best.judge(best.clamp(mean)[:, None])
            best.note(spread=std.mean(dim=(1, 2)), elites=mean_cost(costs))
