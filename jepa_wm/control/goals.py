"""Goal sets: starts and goals drawn by a seed, saved so that others can rerun them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from jepa_wm.envs import PUSH_T, TWO_ROOMS
from jepa_wm.envs.policies import Policy
from jepa_wm.envs.world import VectorWorld
from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.observations import Goal, Observation

KINDS = {TWO_ROOMS: "jepa_wm.control.two_rooms_goals", PUSH_T: "jepa_wm.control.push_t_goals"}
"""Where the kinds of goals of an environment are, as `KINDS`; imported on use, since they are children of this."""


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
        excluded: starts that were drawn, satisfied their goal already, and were left out.
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
    def draw(cls, data: str, episodes: int, seed: int) -> Self:
        """Draw goals as they belong to a folder of shards."""

    @abstractmethod
    def reached(self, states: np.ndarray) -> np.ndarray:
        """Whether `states` (E, P) satisfy the goals, (E,)."""

    @abstractmethod
    def policies(self, seed: int) -> dict[str, Policy]:
        """Floors and ceilings by name, each to be played once."""

    @property
    def sentences(self) -> list[str] | None:
        """What a planner is told, for each episode; None where it is shown an image."""
        return None

    def wanted(self, world: VectorWorld) -> Goal:
        """What a planner is told or shown, in the environments of these episodes."""
        if self.sentences:
            return self.sentences
        return Observation(torch.from_numpy(world.render_states(self.goal)), torch.from_numpy(self.goal))

    def reset_options(self) -> dict[str, Any]:
        """What puts an environment at these starts, goals and factors."""
        return {"state": self.state, "goal": self.goal, "factors": self.factors}

    def open(self, episodes: int) -> Self:
        """The first `episodes` that do not satisfy their goals at the start.

        Raises:
            UserError: if there are fewer.
        """
        kept = np.flatnonzero(~self.reached(self.state))[:episodes]
        if len(kept) < episodes:
            raise UserError(
                f"plan: {len(kept)} of {len(self.state)} starts do not satisfy their goals already; expected "
                f"{episodes}; lower episodes, or collect more"
            )
        arrays = {name: value[kept] for name, value in self._arrays().items()}
        factors = {name: value[kept] for name, value in self.factors.items()}
        return replace(self, **arrays, factors=factors, excluded=int(kept[-1] + 1 - len(kept)))

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

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in self._names()}

    @classmethod
    def _names(cls) -> list[str]:
        """What is an array with a row for each episode."""
        return [field.name for field in fields(cls) if field.name not in ("factors", "excluded")]


def kinds_of(environment: str) -> dict[str, type[GoalSet]]:
    """The kinds of goals of an environment, by name.

    Raises:
        UserError: if nothing is known of its goals.
    """
    if environment not in KINDS:
        raise UserError(f"plan: the goals of {environment} are not known; expected one of {', '.join(KINDS)}")
    kinds: tuple[type[GoalSet], ...] = import_module(KINDS[environment]).KINDS
    return {kind.kind: kind for kind in kinds}


def read_goals(folder: str, kind: type[GoalSet]) -> GoalSet:
    """The goal set that an earlier run of `plan` left in its folder.

    Raises:
        UserError: if it did not, or of another environment.
    """
    path = Path(folder) / f"goals-{kind.kind}.json"
    if not path.is_file():
        raise UserError(f"plan: {path} is missing; expected a folder that an earlier run of plan wrote")
    values = read_json(path)
    try:
        if values["environment"] != kind.environment:
            raise UserError(f"plan: {path} is of {values['environment']}; expected {kind.environment}")
        return kind.from_json(values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"plan: {path} is no goal set ({error!r}); run plan again without goals") from None


def _array(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
