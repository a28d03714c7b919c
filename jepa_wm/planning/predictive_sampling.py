"""Predictive sampling: noise around the best, again and again."""

from torch import Tensor

from jepa_wm.contracts import Generators
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.planning.iterative import Iterative
from jepa_wm.planning.sampling import around, mean_cost, white


class PredictiveSampling(Iterative):
    """Try candidates around the best one so far; nothing is fitted.

    Args:
        samples: candidates S a round.
        iterations: rounds.
        noise: spread of the candidates, as a share of the spread at the start; it stays the same.

    Raises:
        UserError: if a count is below 1, or there is no noise.

    Source: Howell et al. 2022 (arXiv 2212.00541), who do one round a plan, on splines; here plans are as they are.
    """

    def __init__(self, samples: int = 64, iterations: int = 40, noise: float = 0.2) -> None:
        self.samples, self.iterations, self.noise = samples, iterations, noise
        self._require(min(samples, iterations) >= 1 and noise > 0, "counts of 1 or more and noise > 0")

    def search(self, best: Incumbent, std: Tensor, generator: Generators) -> None:
        spread = self.noise * std
        for samples in best.rounds(self.iterations, self.samples):
            noise = white(samples - 1, best.actions, generator)
            costs = best.judge(best.clamp(around(best.actions, spread, noise)))
            best.note(spread=spread.mean(dim=(1, 2)), elites=mean_cost(costs))
