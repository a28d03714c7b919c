"""Random shooting: the floor under every search."""

import torch
from torch import Tensor

from jepa_wm.contracts import Generators
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.planning.iterative import Iterative
from jepa_wm.planning.sampling import drawn, mean_cost


class RandomShooting(Iterative):
    """The start, and candidates drawn uniformly within the bounds; nothing is learned from them.

    Args:
        samples: candidates S a round.
        iterations: rounds.

    Raises:
        UserError: if a count is below 1.
    """

    def __init__(self, samples: int = 256, iterations: int = 10) -> None:
        self.samples, self.iterations = samples, iterations
        self._require(min(samples, iterations) >= 1, "counts of 1 or more")

    def search(self, best: Incumbent, std: Tensor, generator: Generators) -> None:
        low, high, start = best.low, best.high, best.actions
        for samples in best.rounds(self.iterations, self.samples):
            first = start[:, None] if not best.evaluations else start[:, None][:, :0]
            draws = drawn(torch.rand, samples - first.shape[1], start, generator)
            anywhere = torch.lerp(low.expand_as(draws), high.expand_as(draws), draws).expand(len(start), -1, -1, -1)
            candidates = torch.cat([first, anywhere], dim=1)
            costs = best.judge(candidates)
            best.note(spread=candidates.std(dim=1, correction=0).mean(dim=(1, 2)), elites=mean_cost(costs))
