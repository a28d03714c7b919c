"""Model predictive path integral control."""

import torch
from torch import Tensor

from jepa_wm.contracts import Generators
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.planning.iterative import Iterative
from jepa_wm.planning.sampling import fit, gaussian, lowest, mean_cost


class MPPI(Iterative):
    """Sample, weigh the best by what they cost, fit a Gaussian to them, repeat.

    A candidate's weight is exp(-excess / temperature), where `excess` is what it costs more than the best of the round,
    over the elites' mean of that: a cost in other units, or with a constant added, gives the same plan.

    Args:
        samples: candidates S a round.
        elites: how many of them have a weight.
        iterations: rounds.
        temperature: how much the worse ones count: near 0 the best alone, large all elites alike, as in CEM.
        min_std: share of the spread at the start below which no dimension falls.

    Raises:
        UserError: if the counts or the temperature make no sense.

    Source: Williams et al. 2017; with elites, rounds and a fitted spread as in TD-MPC2 (arXiv 2310.16828). Williams
    keeps the spread, which suits a controller that acts on the weighted mean at once; here the best candidate judged is
    the answer, and with a fixed spread none would ever be near the mean. The temperature of both is in units of the
    cost, which a distance between latents does not have.
    """

    def __init__(
        self,
        samples: int = 256,
        elites: int = 32,
        iterations: int = 10,
        temperature: float = 0.5,
        min_std: float = 0.05,
    ) -> None:
        self.samples, self.elites, self.iterations = samples, elites, iterations
        self.temperature, self.min_std = temperature, min_std
        self._require(
            0 < elites <= samples and iterations >= 1 and temperature > 0 and min_std >= 0,
            "0 < elites <= samples, iterations >= 1, temperature > 0 and min_std >= 0",
        )

    def search(self, best: Incumbent, std: Tensor, generator: Generators) -> None:
        mean, floor = best.actions, self.min_std * std
        for samples in best.rounds(self.iterations, self.samples):
            ends = best.ends(samples)
            candidates = best.clamp(gaussian(mean, std, samples - ends, generator))
            elites, costs = lowest(candidates, best.judge(candidates), self.elites)
            mean, std = fit(elites, weights(costs, self.temperature), mean, std)
            std = std.maximum(floor)
            if ends:
                best.judge(best.clamp(mean)[:, None])
            best.note(spread=std.mean(dim=(1, 2)), elites=mean_cost(costs))


def weights(costs: Tensor, temperature: float) -> Tensor:
    """Weights (E, S) of costs (E, S): 1 where they are least, 0 where they are not finite."""
    finite = costs.isfinite()
    excess = (costs - costs.amin(dim=1, keepdim=True)).where(finite, 0)
    typical = excess.sum(dim=1, keepdim=True) / finite.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.exp(-excess / (temperature * torch.where(typical > 0, typical, 1))) * finite
