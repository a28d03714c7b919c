"""The cross-entropy method over discrete actions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.contracts import Generators
from jepa_wm.errors import UserError
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.planning.iterative import Iterative
from jepa_wm.planning.sampling import drawn, fit, lowest, mean_cost


class CategoricalCEM(Iterative):
    """Draw one of A choices at each step, keep the best plans, count what they chose, repeat.

    An action is one-hot, 1 for its choice and 0 for the others: these are its bounds. The search starts from chances:
    `mean`, which may be an earlier plan, with the share of equal chances mixed in that `std` says. The likeliest plan
    of each round is among its candidates.

    Attributes:
        one_hot: a world model asks that each planned action be one action of the environment.

    Args:
        samples: candidates S a round.
        elites: how many of them the chances are counted in.
        iterations: rounds.
        momentum: share of the old chances kept at each count.
        smoothing: share of equal chances mixed into each count, so that no choice is lost for good.

    Raises:
        UserError: if the counts make no sense; from `plan`, if the bounds are not 0 and 1.

    Source: Rubinstein & Kroese 2004.
    """

    one_hot = True

    def __init__(
        self,
        samples: int = 256,
        elites: int = 25,
        iterations: int = 10,
        momentum: float = 0.1,
        smoothing: float = 0.02,
    ) -> None:
        self.samples, self.elites, self.iterations = samples, elites, iterations
        self.momentum, self.smoothing = momentum, smoothing
        self._require(
            0 < elites <= samples and iterations >= 1 and 0 <= momentum < 1 and 0 <= smoothing <= 1,
            "0 < elites <= samples, iterations >= 1, 0 <= momentum < 1 and 0 <= smoothing <= 1",
        )

    def search(self, best: Incumbent, std: Tensor, generator: Generators) -> None:
        if (best.low != 0).any() or (best.high != 1).any():
            raise UserError(
                f"CategoricalCEM: got bounds {best.low.tolist()} to {best.high.tolist()}; expected 0 and 1, since its "
                "actions are one-hot; for continuous actions use CEM"
            )
        chances = _with_equal(_normalised(best.actions), std.clamp(0, 1))
        likeliest = best.actions = _chosen(best.actions)
        for samples in best.rounds(self.iterations, self.samples):
            candidates = torch.cat([likeliest[:, None], sampled(chances, samples - 1, generator)], dim=1)
            elites, costs = lowest(candidates, best.judge(candidates), self.elites)
            counted, _ = fit(elites, costs.isfinite().to(elites), chances, chances)
            chances = torch.lerp(_with_equal(counted, self.smoothing), chances, self.momentum)
            likeliest = _chosen(chances)
            best.note(spread=1 - chances.amax(dim=-1).mean(dim=1), elites=mean_cost(costs))


def sampled(chances: Tensor, samples: int, generator: Generators) -> Tensor:
    """Plans (E, S, K, A) drawn with chances (E, K, A)."""
    luck = drawn(torch.rand, samples, chances, generator)
    gumbel = -(-luck.clamp(min=torch.finfo(luck.dtype).tiny).log()).log()
    return _chosen(chances.log()[:, None] + gumbel)


def _chosen(scores: Tensor) -> Tensor:
    """The one-hot choice (…, A) of the highest score (…, A)."""
    return F.one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(scores)


def _normalised(chances: Tensor) -> Tensor:
    """Chances (…, A) that sum up to 1; equal where all were 0."""
    chances = chances + torch.finfo(chances.dtype).tiny
    return chances / chances.sum(dim=-1, keepdim=True)


def _with_equal(chances: Tensor, share: Tensor | float) -> Tensor:
    """Chances (…, A) with a share of equal ones mixed in."""
    mixed = chances + share * (1 / chances.shape[-1] - chances)
    return mixed / mixed.sum(dim=-1, keepdim=True)
