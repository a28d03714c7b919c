"""Goals of the two-room world: places, shown as an image, and regions, named by a sentence."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from jepa_wm.control.goals import DRAWN, GoalSet, Task
from jepa_wm.control.recorded_goals import RecordedGoals
from jepa_wm.envs import TWO_ROOMS
from jepa_wm.envs.geometry import geometry, move, success
from jepa_wm.envs.language import REGIONS, middle_of, region_of
from jepa_wm.envs.policies import NoisyExpert, NoOp, Policy, RandomWalk
from jepa_wm.envs.state_env import StateVectorEnv
from jepa_wm.envs.vector import TwoRoomsVectorEnv
from jepa_wm.errors import UserError
from jepa_wm.goals import Goal, Sentence
from jepa_wm.manifest import read_manifest

POOLS = (2, 8, 32, 128)
"""Starts that are drawn for each that is wanted, as long as too few are far enough."""


class TwoRoomsGoals(GoalSet):
    """Starts anywhere, in worlds whose factors are drawn as they were for the shards."""

    environment = TWO_ROOMS

    @classmethod
    def draw(cls, data: str, episodes: int, seed: int, task: Task = DRAWN) -> Self:
        return cls.sample(episodes, read_manifest(data, "collect")["config"]["factors"] or {}, seed, task)

    @classmethod
    def sample(cls, episodes: int, factors: dict[str, Any], seed: int, task: Task = DRAWN) -> Self:
        """Draw `episodes` starts and goals, with factors of variation as the environment takes them.

        Raises:
            UserError: if too few goals are as far as the task asks.
        """
        for pool in POOLS:
            world = TwoRoomsVectorEnv(pool * episodes + 8, size=8, factors=factors)
            world.reset(seed=seed)
            drawn = cls._all(world, seed).far(task.least_steps)
            if len(drawn.state) >= episodes or pool == POOLS[-1]:
                break
        if len(drawn.state) < episodes:
            raise UserError(
                f"plan: {len(drawn.state)} of {world.num_envs} goals are {task.least_steps} or more steps away; "
                f"expected {episodes}; lower least_steps, or collect with slower discs or doors off the middle"
            )
        return drawn.open(episodes, task.factors, seed)

    @classmethod
    @abstractmethod
    def _all(cls, world: TwoRoomsVectorEnv, seed: int) -> Self:
        """A start and a goal in every environment."""

    def far(self, least_steps: int) -> Self:
        """Those that are so many steps away; all, where nothing tells how far a goal is."""
        return self

    def policies(self, seed: int) -> dict[str, Policy]:
        return {"noop": NoOp(), "random": RandomWalk(len(self.state), seed)}


class RoomGoals(TwoRoomsGoals):
    """Places in the other room."""

    @classmethod
    def _all(cls, world: TwoRoomsVectorEnv, seed: int) -> Self:
        return cls(world.state.copy(), world.goal.copy(), dict(world.factor_values), 0)

    def reached(self, states: np.ndarray) -> np.ndarray:
        return success(states, self.goal)

    def policies(self, seed: int) -> dict[str, Policy]:
        return {**super().policies(seed), "expert": NoisyExpert(0.0, seed)}

    def far(self, least_steps: int) -> Self:
        """Those that the expert has not reached one step before."""
        state, near, expert = self.state, self.reached(self.state), NoisyExpert()
        for _ in range(least_steps - 1):
            action = expert(state, self.goal, self.factors)
            moved = move(geometry(self.factors), state, action * self.factors["agent_speed"][:, None])
            state = moved.astype(np.float32)
            near |= self.reached(state)
        return self.take(~near) if least_steps else self


class RecordedRooms(RecordedGoals):
    """Where the disc was a while later, in the same room perhaps."""

    environment = TWO_ROOMS

    def reached(self, states: np.ndarray) -> np.ndarray:
        return success(states, self.goal)

    def _random(self, seed: int) -> Policy:
        return RandomWalk(len(self.state), seed)


@dataclass(frozen=True)
class RegionGoals(TwoRoomsGoals):
    """Regions, named by a sentence; the expert walks to the middle of each, and stays.

    Args:
        regions: indices into REGIONS, (E,).
    """

    kind = "text"
    ends = False

    regions: np.ndarray

    def check(self) -> None:
        super().check()
        if not np.isin(self.regions, np.arange(len(REGIONS))).all():
            raise UserError(
                f"goals: got regions {self.regions.tolist()}; expected numbers from 0 to {len(REGIONS) - 1}"
            )

    @classmethod
    def _all(cls, world: TwoRoomsVectorEnv, seed: int) -> Self:
        regions = np.random.default_rng(seed).integers(len(REGIONS), size=world.num_envs)
        return cls(world.state.copy(), world.goal.copy(), dict(world.factor_values), 0, regions)

    @property
    def sentences(self) -> list[str]:
        """The region's name, for each episode."""
        return [REGIONS[region].phrase for region in self.regions]

    def wanted(self, world: StateVectorEnv) -> Goal:
        return Sentence(self.sentences, against=[region.phrase for region in REGIONS])

    def reached(self, states: np.ndarray) -> np.ndarray:
        return np.asarray(region_of(states) == self.regions)

    def policies(self, seed: int) -> dict[str, Policy]:
        expert, middles = NoisyExpert(0.0, seed), middle_of(self.regions, self.factors)
        return {**super().policies(seed), "expert": lambda state, goal, factors: expert(state, middles, factors)}


KINDS = (RoomGoals, RecordedRooms, RegionGoals)
