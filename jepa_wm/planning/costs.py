"""What imagined futures cost: distances to a goal, over time."""

from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32

METRICS = ("l2", "l1", "cosine")


FORBIDDEN = 1e12
"""What leads a search away from what breaks a constraint: more than costs are, with a square that float32 still has."""


def rejected(costs: Tensor, violations: Tensor) -> Tensor:
    """What a search goes by: costs (E, S); `FORBIDDEN` and more, the more is broken, where violations are above 0."""
    # A violation that is no number must not pass for none, nor a cost that is none for a breach.
    return torch.where((violations <= 0) | costs.isnan(), costs, FORBIDDEN * (1 + violations))


@dataclass(frozen=True)
class Distance:
    """How far imagined latents are from a goal, step by step, and how the steps add up.

    Args:
        metric: "l2", the mean square of the difference, "l1", its mean absolute value, or "cosine", one minus the
            cosine of all of a frame's numbers.
        final: weight of the last step; the mean over all steps has the rest.
        discount: in that mean, the weight of a step over that of the one before.
        head: name of a state head, what which reads of latents is compared, in standard deviations, in their place.
        scale: if it is given, a step counts log(1 + distance / scale). Distances far above it then differ little, so
            that a way round costs little more than standing still before a wall; near the goal every bit counts, so
            that to stay is better than to come back.

    Raises:
        UserError: if the metric is unknown, or a number is out of range.

    Source: Levine et al. 2016 (arXiv 1504.00702) add the logarithm of a square distance to it, to be exact near the
        goal; here it takes its place, and holds for every metric, and for the costs of sentences.
    """

    metric: Literal["l2", "l1", "cosine"] = "l2"
    final: float = 0.5
    discount: float = 1.0
    head: str | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.final, self.discount, 1 if self.scale is None else self.scale)
        known = self.metric in METRICS and all(isinstance(number, Real) for number in numbers)
        if not known or not 0 <= self.final <= 1 or not all(0 < number < inf for number in numbers[1:]):
            raise UserError(
                f"distance: got metric {self.metric!r}, final {self.final!r}, discount {self.discount!r}, scale "
                f"{self.scale!r}; expected one of {', '.join(METRICS)}, 0 to 1, and finite numbers above 0"
            )

    def between(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Latents (E, S, K, N, D) and goals (E, N, D) or (1, N, D) -> distances (E, S, K)."""
        goal = goal[:, None, None]
        if self.metric == "cosine":
            return 1 - F.cosine_similarity(latents.flatten(-2), goal.flatten(-2), dim=-1)
        away = latents - goal
        return (away.square() if self.metric == "l2" else away.abs()).mean(dim=(-2, -1))

    def over_time(self, distances: Tensor) -> Tensor:
        """Distances (E, S, K) -> costs (E, S)."""
        distances = at_least_float32(distances)
        if self.scale is not None:
            distances = torch.log1p(distances / self.scale)
        weights = self.discount ** torch.arange(distances.shape[-1], device=distances.device)
        return torch.lerp((distances * (weights / weights.sum())).sum(dim=-1), distances[..., -1], self.final)
