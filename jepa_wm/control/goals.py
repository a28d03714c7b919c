"""Goal sets: starts and goals drawn by a seed, saved so that others can rerun them."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from jepa_wm.control.changed_factors import change_factors
from jepa_wm.envs.policies import Policy
from jepa_wm.envs.state_env import StateVectorEnv
from jepa_wm.errors import UserError
from jepa_wm.goals import Goal, Image
from jepa_wm.observations import Observation


@dataclass(frozen=True)
class Task:
    """Which starts and goals are drawn.

    Args:
        ahead: a goal is what a held-out episode came to so many steps after the start; None draws goals as the
            environment does.
        least_steps: steps that a goal takes the scripted expert at least, in the two rooms.
        factors: factors of variation by name, as an environment takes them, in place of those of the shards.

    Raises:
        UserError: if a number is out of range.
    """

    ahead: int | None = None
    least_steps: int = 0
    factors: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if (self.ahead is not None and self.ahead < 1) or self.least_steps < 0:
            raise UserError(
                f"task: got ahead {self.ahead}, least_steps {self.least_steps}; expected at least 1, or none, and 0"
            )


DRAWN = Task()

HELD_OUT = 1_000_003
"""Seeds in a row that one goal set has for its environments. The first so many are for collected episodes."""


def goal_seed(seed: int) -> int:
    """The first environment's seed of a goal set: those of two seeds share no goal, nor any with collected episodes."""
    return HELD_OUT * (seed + 1)


@dataclass(frozen=True)
class GoalSet(ABC):
    """Start states and goals of E episodes, in one world each. A child says what draws them and when they are met.

    Attributes:
        environment: gymnasium id.
        kind: "image" or "text": how a planner is told its goal.
        ends: whether an episode ends when its goal is met; else it counts whether it is met after the last step.

    Args:
        state: where the episodes start, (E, P).
        goal: states (E, P) that are to be reached, and shown.
        factors: factors of variation (E, …), by name.
        excluded: starts that were drawn and left out: they satisfied their goal already, or could not be under the
            factors that were asked for.
    """

    environment: ClassVar[str]
    kind: ClassVar[str] = "image"
    ends: ClassVar[bool] = True

    state: np.ndarray
    goal: np.ndarray
    factors: dict[str, np.ndarray]
    excluded: int

    @classmethod
    @abstractmethod
    def draw(cls, data: str, episodes: int, seed: int, task: Task = DRAWN) -> Self:
        """Draw goals as they belong to a folder of shards.

        Raises:
            UserError: if the task asks for more than there is.
        """

    @abstractmethod
    def reached(self, states: np.ndarray) -> np.ndarray:
        """Whether `states` (E, P) satisfy the goals, (E,)."""

    @abstractmethod
    def policies(self, seed: int) -> dict[str, Policy]:
        """Floors and ceilings by name, each to be played once."""

    @property
    def sources(self) -> np.ndarray:
        """What the episodes come from (E,): those that share a source are not independent."""
        return np.arange(len(self.state))

    @property
    def sentences(self) -> list[str] | None:
        """What a planner is told, for each episode; None where it is shown an image."""
        return None

    def wanted(self, world: StateVectorEnv) -> Goal:
        """What a planner is told or shown, in the environments of these episodes."""
        return Image(Observation(torch.from_numpy(world.render_states(self.goal)), torch.from_numpy(self.goal)))

    def reset_options(self) -> dict[str, Any]:
        """What puts an environment at these starts, goals and factors."""
        return {"state": self.state, "goal": self.goal, "factors": self.factors}

    def take(self, index: np.ndarray) -> Self:
        """The episodes at `index` (an index array or a mask)."""
        arrays = {name: value[index] for name, value in self._arrays().items()}
        return replace(self, **arrays, factors={name: value[index] for name, value in self.factors.items()})

    def open(self, episodes: int, factors: Mapping[str, Any] | None = None, seed: int = 0) -> Self:
        """The first `episodes` that do not satisfy their goals at the start, with other factors if some are given.

        Raises:
            UserError: if there are fewer, or a factor is unknown.
        """
        unsolved = np.flatnonzero(~self.reached(self.state))
        kept, values = unsolved[:episodes], None
        if factors:
            kept, values = change_factors(self.environment, self.reset_options(), factors, unsolved, episodes, seed)
        if len(kept) < episodes:
            can = " and can be with the factors asked for" if factors else ""
            raise UserError(
                f"plan: {len(kept)} of {len(self.state)} starts do not satisfy their goals already{can}; expected "
                f"{episodes}; lower episodes, or collect more"
            )
        chosen = self.take(kept)
        excluded = self.excluded + int(kept[-1] + 1 - len(kept))
        return replace(chosen, factors=values or chosen.factors, excluded=excluded)

    @property
    def identity(self) -> str:
        """A name for the set: that of another is the same only if all of it is."""
        return digest({name: value for name, value in self.to_json().items() if name != "excluded"})

    @property
    def identities(self) -> list[str]:
        """A name for start and goal of each episode, whatever its factors are."""
        told: Sequence[str | None] = self.sentences or [None] * len(self.state)
        each = zip(self.state.tolist(), self.goal.tolist(), told, strict=True)
        return [digest([self.environment, *values]) for values in each]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "environment": self.environment,
            **{name: value.tolist() for name, value in self._arrays().items()},
            "factors": {name: np.asarray(value).tolist() for name, value in self.factors.items()},
            "sentences": self.sentences,
            "excluded": self.excluded,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        arrays = {name: _array(values[name]) for name in cls._names()}
        factors = {name: np.asarray(value) for name, value in values["factors"].items()}
        return cls(**arrays, factors=factors, excluded=values["excluded"])

    def check(self) -> None:
        """Refuse what no goal set is, as a file by somebody else may hold it.

        Raises:
            ValueError: if something has no row for each episode, or states are no numbers.
        """
        shape, goal = self.state.shape, self.goal.shape
        if len(shape) != 2 or shape != goal or not np.isfinite([self.state, self.goal]).all():
            raise ValueError(f"got states {shape} and goals {goal}; expected (E, P) finite numbers in both")
        for name, value in {**self._arrays(), **self.factors}.items():
            if np.shape(value)[:1] != shape[:1]:
                raise ValueError(f"got {name} {np.shape(value)}; expected a row for each of {shape[0]} episodes")
        if not isinstance(self.excluded, int):
            raise ValueError(f"got excluded {self.excluded!r}; expected how many")

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in self._names()}

    @classmethod
    def _names(cls) -> list[str]:
        """What is an array with a row for each episode."""
        return [field.name for field in fields(cls) if field.name not in ("factors", "excluded")]


def digest(value: Any) -> str:
    """A name for what JSON can hold: that of another value is another."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _array(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
