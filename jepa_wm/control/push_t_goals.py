"""Goals of Push-T: where pusher and block were a while later in an episode that was recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Self

import numpy as np

from jepa_wm.control.goals import GoalSet
from jepa_wm.data import BrokenSample, EpisodeShards
from jepa_wm.data.broken import BrokenList
from jepa_wm.data.footage import Recorded
from jepa_wm.envs import PUSH_T
from jepa_wm.envs.policies import NoOp, Policy, Replay, Uniform
from jepa_wm.envs.tee import measure
from jepa_wm.errors import UserError

AHEAD = 25
"""Environment steps from a start to its goal."""


@dataclass(frozen=True)
class RecordedGoals(GoalSet):
    """Starts in held-out episodes, and the states `AHEAD` steps later in them; one can be reached, as was shown.

    Args:
        actions: those that were recorded between start and goal, (E, AHEAD, A).
        episode: the names of the episodes, (E,).
        time: when the starts were in them, (E,).

    Source: the protocol of DINO-WM and stable-worldmodel, 25 steps in a budget of 50; see `tee.measure`.
    """

    environment = PUSH_T

    actions: np.ndarray
    episode: np.ndarray
    time: np.ndarray

    @classmethod
    def draw(cls, data: str, episodes: int, seed: int) -> Self:
        """Starts in the split "test": one in each episode, in random order, then another in each, and so on."""
        shards = EpisodeShards(data, "test")
        recorded = _read(shards)
        names = list(recorded)
        starts = _starts([recorded[name].frames for name in names], np.random.default_rng(seed))
        if not starts:
            raise UserError(f"plan: {shards} has no episode of more than {AHEAD - 1} steps; collect longer ones")
        number, time = np.array(starts).T
        of = [(recorded[names[i]], t) for i, t in starts]
        header = [each.header.factors for each, _ in of]
        return cls(
            state=np.stack([each.state[t] for each, t in of]),
            goal=np.stack([each.state[t + AHEAD] for each, t in of]),
            factors={name: np.asarray([factors[name] for factors in header]) for name in header[0]},
            excluded=0,
            actions=np.stack([each.actions[t : t + AHEAD] for each, t in of]),
            episode=np.array(names)[number],
            time=time,
        ).open(episodes)

    def reached(self, states: np.ndarray) -> np.ndarray:
        return measure(states, self.goal)["success"]

    def policies(self, seed: int) -> dict[str, Policy]:
        return {"noop": NoOp(), "random": Uniform(seed), "replay": Replay(self.actions)}


def _read(shards: EpisodeShards) -> dict[str, Recorded]:
    """The episodes that are not broken, by name."""
    found, broken = {}, BrokenList(str(shards), len(shards))
    for number in range(len(shards)):
        try:
            found[shards.key(number)] = shards.recorded(number)
        except BrokenSample as error:
            broken.add(error)
    return found


def _starts(frames: Sequence[int], random: np.random.Generator) -> list[tuple[int, int]]:
    """Every start, as the number of an episode and a time in it, in the order in which they are taken."""
    times = [random.permutation(max(count - AHEAD, 0)).tolist() for count in frames]
    starts = []
    for each in zip_longest(*times):
        starts += [(i, each[i]) for i in random.permutation(len(times)).tolist() if each[i] is not None]
    return starts


KINDS = (RecordedGoals,)
