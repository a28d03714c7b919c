"""The improved cross-entropy method: smooth noise, elites that stay, fewer samples every round."""

import torch
from torch import Tensor

from jepa_wm.contracts import Generators
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.planning.iterative import Iterative
from jepa_wm.planning.sampling import around, fit, lowest, mean_cost, white


class ICEM(Iterative):
    """CEM with noise that is correlated over the plan's steps, for plans that go somewhere instead of trembling.

    Args:
        samples: candidates S of the first round.
        elites: how many candidates the Gaussian is fitted to.
        iterations: rounds.
        beta: the noise's power at frequency f is f to the power -beta: 0 is white, 2 a random walk.
        keep: share of the elites that stand for election again in the next round.
        decay: each round has so many times fewer samples than the one before, but twice the elites at least.
        momentum: share of the old mean and spread kept at each fit.
        min_std: share of the spread at the start below which no dimension falls.

    Raises:
        UserError: if the counts make no sense.

    Source: Pinneri et al. 2020 (arXiv 2008.06389). Here the costs of kept elites are remembered, so that every
    evaluation is of a new candidate; the mean is a candidate in each round, and the one fitted last is, as in CEM; and
    nothing but the mean is shifted from one plan to the next, by whoever plans again: planners have no memory.
    """

    def __init__(
        self,
        samples: int = 256,
        elites: int = 25,
        iterations: int = 10,
        beta: float = 2.0,
        keep: float = 0.3,
        decay: float = 1.25,
        momentum: float = 0.1,
        min_std: float = 0.05,
    ) -> None:
        self.samples, self.elites, self.iterations = samples, elites, iterations
        self.beta, self.keep, self.decay = beta, keep, decay
        self.momentum, self.min_std = momentum, min_std
        self._require(
            0 < elites <= samples and iterations >= 1 and beta >= 0 and 0 <= keep <= 1 and decay >= 1,
            "0 < elites <= samples, iterations >= 1, beta >= 0, 0 <= keep <= 1 and decay >= 1",
        )
        self._require(0 <= momentum < 1 and min_std >= 0, "0 <= momentum < 1 and min_std >= 0")

    def search(self, best: Incumbent, std: Tensor, generator: Generators) -> None:
        mean, floor, wanted = best.actions, self.min_std * std, float(self.samples)
        kept, known = mean[:, None][:, :0], best.costs[:, None][:, :0]
        for allowed in best.rounds(self.iterations, self.samples):
            samples = min(allowed, int(wanted))
            ends = best.ends(samples)
            noise = coloured(white(samples - ends - 1, mean, generator), self.beta)
            fresh = best.clamp(around(mean, std, noise))
            costs = torch.cat([best.judge(fresh), known], dim=1)
            elites, costs = lowest(torch.cat([fresh, kept], dim=1), costs, self.elites)
            found = fit(elites, costs.isfinite().to(elites), mean, std)
            mean, std = (torch.lerp(new, old, self.momentum) for new, old in zip(found, (mean, std), strict=True))
            std = std.maximum(floor)
            stay = int(self.keep * self.elites)
            kept, known = elites[:, :stay], costs[:, :stay]
            wanted = max(wanted / self.decay, min(2 * self.elites, self.samples))
            if ends:
                best.judge(best.clamp(mean)[:, None])
            best.note(spread=std.mean(dim=(1, 2)), elites=mean_cost(costs))


def coloured(noise: Tensor, beta: float) -> Tensor:
    """White noise (…, K, A) with power f ** -beta at frequency f over its K steps; each step's variance stays 1.

    What does not change at all counts as the slowest frequency, as in the paper.
    """
    steps = noise.shape[-2]
    power = torch.fft.fftfreq(steps, device=noise.device).abs().clamp(min=1 / steps) ** -beta
    gain = (power / power.mean()).sqrt()
    return torch.fft.ifft(torch.fft.fft(noise, dim=-2) * gain[:, None], dim=-2).real
