"""Projected gradient descent on actions."""

from torch import Tensor

from jepa_wm.planning.descent import Descent, Slope


class ProjectedGradient(Descent):
    """Go down from several starts at once, every action by the same step, which shrinks where it leads up.

    Only the gradient's signs are used: the steepest way for a step whose largest change is given, in whatever unit the
    cost is. It does not remember anything, and unlike Adam it comes to rest, and only ever goes to where the cost is
    lower.

    Args:
        restarts: starts S, the mean and others drawn around it; each is a candidate a round.
        iterations: rounds.
        step: the first step, as a share of the spread at the start.

    Raises:
        UserError: if a count is below 1, or `step` is not above 0; from `plan`, if the cost cannot be differentiated.

    Source: Goldstein 1964, Levitin & Polyak 1966; steps of signs as in PGD (arXiv 1706.06083), with a step that each
    point halves by itself. stable-worldmodel's solver of this name is for discrete actions: see `CategoricalCEM`.
    """

    def __init__(self, restarts: int = 16, iterations: int = 40, step: float = 0.5) -> None:
        self.restarts, self.iterations, self.step = restarts, iterations, step
        self._require(min(restarts, iterations) >= 1 and step > 0, "counts of 1 or more and step > 0")

    def direction(self, slope: Slope) -> Tensor:
        """The step whose every action changes alike."""
        return -self.step * slope.scale * slope.gradient.sign()
