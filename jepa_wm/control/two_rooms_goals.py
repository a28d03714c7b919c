"""Goals of the two-room world: a place in the other room, shown as an image, and a region, named by a sentence."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from jepa_wm.control.goals import GoalSet
from jepa_wm.envs import TWO_ROOMS
from jepa_wm.envs.geometry import success
from jepa_wm.envs.language import REGIONS, region_of
from jepa_wm.envs.policies import NoisyExpert, NoOp, Policy, RandomWalk
from jepa_wm.envs.vector import TwoRoomsVectorEnv
from jepa_wm.manifest import read_manifest


class TwoRoomsGoals(GoalSet):
    """Starts anywhere, in worlds whose factors are drawn as they were for the shards."""

    environment = TWO_ROOMS

    @classmethod
    def draw(cls, data: str, episodes: int, seed: int) -> Self:
        return cls.sample(episodes, read_manifest(data, "collect")["config"]["factors"] or {}, seed)

    @classmethod
    def sample(cls, episodes: int, factors: dict[str, Any], seed: int) -> Self:
        """Draw `episodes` starts and goals, with factors of variation as the environment takes them."""
        world = TwoRoomsVectorEnv(episodes + episodes // 4 + 8, size=8, factors=factors)
        world.reset(seed=seed)
        return cls._all(world, seed).open(episodes)

    @classmethod
    @abstractmethod
    def _all(cls, world: TwoRoomsVectorEnv, seed: int) -> Self:
        """A start and a goal in every environment."""

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


@dataclass(frozen=True)
class RegionGoals(TwoRoomsGoals):
    """Regions; the expert, who knows positions, cannot play them.

    Args:
        regions: indices into REGIONS, (E,).
    """

    kind = "text"
    ends = False

    regions: np.ndarray

    @classmethod
    def _all(cls, world: TwoRoomsVectorEnv, seed: int) -> Self:
        regions = np.random.default_rng(seed).integers(len(REGIONS), size=world.num_envs)
        return cls(world.state.copy(), world.goal.copy(), dict(world.factor_values), 0, regions)

    @property
    def sentences(self) -> list[str]:
        """The region's name, for each episode."""
        return [REGIONS[region].phrase for region in self.regions]

    def reached(self, states: np.ndarray) -> np.ndarray:
        return np.asarray(region_of(states) == self.regions)


KINDS = (RoomGoals, RegionGoals)
