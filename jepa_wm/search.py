"""How a world model plans: by what search, how far ahead, at what price."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from jepa_wm.contracts import Budget, Planner
from jepa_wm.errors import UserError
from jepa_wm.goals import Constraint, Goal
from jepa_wm.goals.room import check_room
from jepa_wm.planning.cem import CEM
from jepa_wm.planning.costs import Distance


@dataclass(frozen=True)
class Search:
    """How to plan.

    Args:
        planner: the search.
        horizon: planned actions K.
        replan: planned actions that are done before the next plan, by a controller.
        hold: a planned action is held over the model's frame skip; else each of its steps has an action of its own.
        distance: how far imagined latents are from a goal.
        terms: what is wanted beside the goal in every environment, such as smooth actions, each with its weight.
        constraints: what must not happen, whatever it costs.
        budget: what each plan may spend, in place of the planner's number of rounds.

    Raises:
        UserError: if `replan` is not within 1 … `horizon`, they are no whole numbers, something is not what it has to
            be, or constraints leave no room to be in.
    """

    planner: Planner = field(default_factory=CEM)
    horizon: int = 8
    replan: int = 1
    hold: bool = True
    distance: Distance = field(default_factory=Distance)
    terms: Sequence[Goal] = ()
    constraints: Sequence[Constraint] = ()
    budget: Budget | None = None

    def __post_init__(self) -> None:
        for name, kind in (("terms", Goal), ("constraints", Constraint)):
            given = getattr(self, name)
            if not isinstance(given, Sequence) or not all(isinstance(each, kind) for each in given):
                raise UserError(f"search: got {name} {given}; expected a list of jepa_wm.goals.{kind.__name__}")
        check_room(self.constraints)
        for name, fits, wanted in (
            ("hold", isinstance(self.hold, bool), "true or false"),
            ("distance", isinstance(self.distance, Distance), "a jepa_wm.planning.costs.Distance"),
            ("budget", isinstance(self.budget, Budget | None), "a jepa_wm.contracts.Budget, or none for no limit"),
        ):
            if not fits:
                raise UserError(f"search: got {name} {getattr(self, name)!r}; expected {wanted}")
        if isinstance(self.planner, type) or not hasattr(self.planner, "plan"):
            raise UserError(f"search: got planner {self.planner}; expected one of jepa_wm.planning, as CEM()")
        if not isinstance(self.horizon, int) or not isinstance(self.replan, int):
            raise UserError(f"search: got horizon {self.horizon} and replan {self.replan}; expected whole numbers")
        if not 1 <= self.replan <= self.horizon:
            raise UserError(
                f"search: got replan {self.replan} and horizon {self.horizon}; expected 1 <= replan <= horizon"
            )

    def after(self, actions: Tensor) -> "Search":
        """The same search where these actions (E, A) were done last, NaN where none was."""
        return replace(self, terms=[term.after(actions) for term in self.terms]) if self.terms else self

    @property
    def one_hot(self) -> bool:
        """Whether planned actions are choices, as those of the innermost planner are."""
        planner: object = self.planner
        while inner := getattr(planner, "planner", None):
            planner = inner
        return getattr(planner, "one_hot", False)
