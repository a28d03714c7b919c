"""What a planner is asked for: what each goal promises."""

from abc import ABC, abstractmethod
from math import isfinite
from numbers import Real
from typing import Protocol, Self

from torch import Tensor, nn

from jepa_wm.contracts import Dynamics, FutureCost
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encoders.frames import Frames
from jepa_wm.encoders.text import TextAlignment
from jepa_wm.errors import UserError
from jepa_wm.observations import Observation
from jepa_wm.planning.costs import Distance


class Model(Protocol):
    """What goals ask of a world model."""

    text: TextAlignment | None
    frames: Frames
    heads: nn.ModuleDict
    proposal: Proposal | None
    dynamics: Dynamics
    bounds: ActionBounds

    def latents_of(self, seen: Observation) -> Tensor:
        """The latents (E, N, D) of one frame of each environment."""
        ...


class Goal(ABC):
    """Something wanted of the future: its cost is least where it is met.

    Attributes:
        weight: factor of its cost wherever goals are added up: in a `Sum`, and in `Search`.

    Raises:
        UserError: when one is made, if its weight is no finite number.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.weight, Real) or not isfinite(self.weight):
            raise UserError(f"{type(self).__name__}: got weight {self.weight!r}; expected a finite number")

    @abstractmethod
    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        """What futures cost that a model imagines of so many environments, before its weight.

        Args:
            model: the world model.
            environments: E.
            distance: how a distance to a goal is taken, where the goal does not say.

        Raises:
            UserError: if the goal does not fit the model or the environments.
        """

    def place(self, model: Model, environments: int) -> Tensor:
        """Latents (E, N, D) or (1, N, D) that the goal is, for a proposal of actions that lead there.

        Raises:
            UserError: if it is none, or does not fit the model or the environments.
        """
        raise UserError(
            f"plan: actions are proposed towards latents, and a {self.given} is none; expected an image, or a planner "
            "that needs no proposal, such as CEM"
        )

    @property
    def given(self) -> str:
        """The kind of goal that was asked for, for errors: what is settled is told as what it was made of."""
        return type(self).__name__

    def of(self, environments: Tensor) -> Self:
        """The goal of some environments, bool (E,); what is the same for all stays as it is."""
        return self

    def seen_from(self, latents: Tensor) -> "Goal":
        """What to plan for from latents (E, N, D): the goal itself, unless something on the way to it comes first.

        Raises:
            UserError: if the goal is latents of another number of tokens, or another width.
        """
        return self

    def after(self, actions: Tensor) -> "Goal":
        """The same goal where these actions (E, A) were done last, NaN where none was; most goals do not ask."""
        return self

    def settled(self, model: Model) -> "Goal":
        """The same goal, as what a model makes of its pictures and words: to be found once, and used often.

        It is for this model alone, with the weights that it has now. A goal that asks for what the model lacks may stay
        as it is, and is refused when it is used.
        """
        return self

    def check(self, seen: Observation) -> None:
        """Refuse what cannot be seen where this is seen.

        Raises:
            UserError: if a picture of the goal is of another size than what is seen.
        """
        return None

    def where(self, model: Model, head: str) -> Tensor | None:
        """What a state head reads where the goal is met, (E, P) or (1, P), with NaN for what it leaves open.

        None where the goal does not say.
        """
        return None


class Constraint(ABC):
    """Something that the future must not do, whatever it costs; the same in all environments."""

    @abstractmethod
    def violation(self, model: Model, goal: Goal) -> FutureCost:
        """By how much futures break it: (E, S), 0 where they do not.

        Args:
            model: the world model.
            goal: what is wanted beside.

        Raises:
            UserError: if it does not fit the model, or the goal could be met by breaking it alone.
        """

    def forbids(self, model: Model, goal: Goal) -> Tensor | None:
        """Whether the goal is met where nobody may be, for each environment or for all, bool (E,) or (1,).

        None where the goal does not say where it is met.
        """
        return None
