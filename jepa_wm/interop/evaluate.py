"""Goals in stable-worldmodel's environments from recorded episodes, and its evaluation of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from jepa_wm.data import EpisodeShards
from jepa_wm.errors import UserError
from jepa_wm.interop.worlds import package, protocol_of
from jepa_wm.statistics import rate_interval

AHEAD, BUDGET = 25, 50
"""Environment steps from a start to its goal, and those that a policy may take."""


class RecordedEpisodes:
    """Episodes in shards as `World.evaluate` reads its data set: chunks of columns.

    Args:
        shards: the episodes.
        environment: of stable-worldmodel, in which they were recorded.
    """

    def __init__(self, shards: EpisodeShards, environment: str) -> None:
        self.shards, self.environment = shards, environment
        self.column_names = ["pixels", "action", *protocol_of(environment).columns]

    def load_chunk(self, episodes: np.ndarray, start: np.ndarray, end: np.ndarray) -> list[dict[str, torch.Tensor]]:
        """The steps from `start` to before `end` of some episodes: pixels (T, 3, H, W), actions and columns (T, …)."""
        return [self._chunk(*map(int, where)) for where in zip(episodes, start, end, strict=True)]

    def _chunk(self, number: int, start: int, end: int) -> dict[str, torch.Tensor]:
        episode, steps = self.shards[number], slice(start, end)
        # Their rows have an action each, the last of which leads nowhere.
        actions = np.concatenate([episode.actions, np.full_like(episode.actions[:1], np.nan)])
        columns = protocol_of(self.environment).split(episode.state[steps].astype(np.float64))
        rows = {"pixels": episode.frames[steps], "action": actions[steps], **columns}
        return {name: torch.from_numpy(np.ascontiguousarray(row)) for name, row in rows.items()}


@dataclass(frozen=True)
class WorldGoals:
    """Starts in recorded episodes, and what was there `AHEAD` steps later.

    Args:
        recorded: the episodes.
        episode: their numbers, (E,).
        time: when the starts were in them, (E,).
        excluded: starts that were drawn, satisfied their goal already, and were left out.

    Source: scripts/plan/eval_wm.py of stable-worldmodel (commit addbab4), which draws starts in the same way, from the
        data that the model was trained on, and keeps those that are solved.
    """

    recorded: RecordedEpisodes
    episode: np.ndarray
    time: np.ndarray
    excluded: int

    @classmethod
    def draw(cls, recorded: RecordedEpisodes, episodes: int, seed: int = 0) -> "WorldGoals":
        """Starts among all steps of all episodes that go on for long enough.

        Raises:
            UserError: if there are too few.
        """
        shards = recorded.shards
        states = [shards.recorded(number).state.astype(np.float64) for number in range(len(shards))]
        starts = [(number, time) for number, state in enumerate(states) for time in range(len(state) - AHEAD)]
        if not starts:
            raise UserError(f"{shards}: no episode has more than {AHEAD} steps; collect longer ones")
        order = np.random.default_rng(seed).permutation(len(starts))
        protocol = protocol_of(recorded.environment)
        taken = [starts[place] for place in order.tolist()]
        first, then = (
            protocol.split(np.array([states[number][time + ahead] for number, time in taken])) for ahead in (0, AHEAD)
        )
        kept = np.flatnonzero(~protocol.rule(first, then))[:episodes]
        if len(kept) < episodes:
            raise UserError(
                f"{shards}: {len(kept)} starts do not satisfy their goals {AHEAD} steps later already; expected "
                f"{episodes}; lower episodes, or collect more"
            )
        number, time = np.array([taken[place] for place in kept.tolist()]).T
        return cls(recorded, number, time, int(kept[-1] + 1 - episodes))

    @property
    def actions(self) -> np.ndarray:
        """Those that were recorded between start and goal, (E, AHEAD, A)."""
        found = [self.recorded.shards.recorded(int(number)).actions for number in self.episode]
        return np.stack([each[time : time + AHEAD] for each, time in zip(found, self.time, strict=True)])


class Scripted:
    """Actions that were written down, then none: a policy for stable-worldmodel.

    Args:
        actions: (E, T, A).
    """

    def __init__(self, actions: np.ndarray) -> None:
        self.actions = actions
        self._step = 0

    def set_env(self, env: Any) -> None:
        """Nothing is asked of the environments."""

    def get_action(self, info_dict: dict[str, Any]) -> np.ndarray:
        """The next action of each environment, (E, A)."""
        self._step += 1
        return self.actions[:, self._step - 1] if self._step <= self.actions.shape[1] else 0 * self.actions[:, 0]


def scripted(goals: WorldGoals, seed: int = 0, budget: int = BUDGET) -> dict[str, Scripted]:
    """Floors and a ceiling by name, each to be played once; in all known worlds actions go from -1 to 1."""
    recorded = goals.actions
    shape = len(recorded), budget, recorded.shape[-1]
    drawn = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
    return {"noop": Scripted(np.zeros_like(drawn)), "random": Scripted(drawn), "replay": Scripted(recorded)}


def evaluate(policy: Any, goals: WorldGoals, budget: int = BUDGET) -> dict[str, Any]:
    """Have stable-worldmodel play a goal set with one of its policies, all environments at once.

    Args:
        policy: theirs, such as `WorldModelPolicy(PlannerSolver(…), …)`.
        goals: the goal set.
        budget: steps that the policy may take; a goal that is met at any of them is a success.

    Returns:
        `success`, its interval `ci95`, wider where starts share an episode, `episodes`, `excluded`, and `solved`, a
        list of bools.
    """
    environment, shards = goals.recorded.environment, goals.recorded.shards
    protocol, size = protocol_of(environment), shards.form.height
    world = package().World(
        environment,
        num_envs=len(goals.episode),
        image_shape=(size, size),
        max_episode_steps=2 * budget,
        disable_env_checker=True,
        **protocol.options,
    )
    try:
        world.set_policy(policy)
        found = world.evaluate(
            dataset=goals.recorded,
            episodes_idx=goals.episode.tolist(),
            start_steps=goals.time.tolist(),
            goal_offset=AHEAD,
            eval_budget=budget,
            callables=protocol.callables(),
        )
    finally:
        world.close()
    solved = np.asarray(found["episode_successes"], bool)
    count = int(solved.sum())
    return {
        "success": count / len(solved),
        "ci95": list(rate_interval(solved, goals.episode)),
        "episodes": len(solved),
        "excluded": goals.excluded,
        "solved": solved.tolist(),
    }
