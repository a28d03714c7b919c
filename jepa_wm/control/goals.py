"""Goal sets: starts and goals drawn by a seed, saved so that others can rerun them."""

from typing import Any, NamedTuple

import numpy as np

from jepa_wm.envs.geometry import success
from jepa_wm.envs.language import REGIONS, region_of
from jepa_wm.envs.vector import TwoRoomsVectorEnv


class GoalSet(NamedTuple):
    """Start states and goals of E episodes, in one world each.

    `regions` are indices into REGIONS, the region that a sentence names; None where goals are images.
    `excluded` starts were drawn that satisfied their goal already, and left out.
    """

    state: np.ndarray
    goal: np.ndarray
    factors: dict[str, np.ndarray]
    regions: np.ndarray | None
    excluded: int

    @property
    def sentences(self) -> list[str]:
        """The region's name, for each episode."""
        assert self.regions is not None
        return [REGIONS[region].phrase for region in self.regions]

    def reset_options(self) -> dict[str, Any]:
        """What puts an environment at these starts, goals and factors."""
        return {"state": self.state, "goal": self.goal, "factors": self.factors}

    def reached(self, states: np.ndarray) -> np.ndarray:
        """Whether `states` (E, 2) satisfy the goals."""
        return success(states, self.goal) if self.regions is None else region_of(states) == self.regions

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "state": self.state.tolist(),
            "goal": self.goal.tolist(),
            "factors": {name: np.asarray(value).tolist() for name, value in self.factors.items()},
            "sentences": None if self.regions is None else self.sentences,
            "excluded": self.excluded,
        }


def draw_goals(episodes: int, factors: dict[str, Any], sentences: bool, seed: int) -> GoalSet:
    """Draw starts anywhere, and goals in the other room or regions at random; leave solved starts out.

    Args:
        episodes: E.
        factors: factors of variation, as the environment takes them.
        sentences: goals are regions, named by sentences, instead of states, shown as images.
        seed: seeds everything.
    """
    spare = episodes + episodes // 4 + 8
    world = TwoRoomsVectorEnv(spare, size=8, factors=factors)
    world.reset(seed=seed)
    regions = np.random.default_rng(seed).integers(len(REGIONS), size=spare) if sentences else None
    drawn = GoalSet(world.state.copy(), world.goal.copy(), dict(world.factor_values), regions, 0)
    open_ = np.flatnonzero(~drawn.reached(drawn.state))
    kept = open_[:episodes]
    return GoalSet(
        drawn.state[kept],
        drawn.goal[kept],
        {name: value[kept] for name, value in drawn.factors.items()},
        None if regions is None else regions[kept],
        int(kept[-1] + 1 - len(kept)),
    )
