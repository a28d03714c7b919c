"""Futures that the model knows little about are to be shunned."""

from dataclasses import dataclass

from torch import Tensor

from jepa_wm.contracts import Future, FutureCost
from jepa_wm.dynamics.ensemble import Ensemble
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Goal, Model
from jepa_wm.planning.costs import Distance


@dataclass(frozen=True)
class Uncertainty(Goal):
    """The error that an ensemble expects of what it imagines, in units of latents: its mean over the steps.

    Args:
        discount: in that mean, the weight of a step over that of the one before.
        weight: see `Goal`.

    Raises:
        UserError: if `discount` is no finite number above 0.
    """

    discount: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._mean()

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        if not isinstance(model.dynamics, Ensemble):
            raise UserError(
                f"Uncertainty: this model has one predictor, {type(model.dynamics).__name__}, which does not know how "
                "wrong it is; train an Ensemble, as configs/dynamics/ensemble.yaml does"
            )
        mean = self._mean()

        def expected(future: Future) -> Tensor:
            assert future.uncertainty is not None
            return mean.over_time(future.uncertainty)

        return expected

    def _mean(self) -> Distance:
        return Distance(final=0.0, discount=self.discount)
