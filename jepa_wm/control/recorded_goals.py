"""Goals that an episode came to a while later when it was recorded."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Self

import numpy as np

from jepa_wm.control.goals import DRAWN, GoalSet, Task
from jepa_wm.data import BrokenSample, EpisodeShards
from jepa_wm.data.broken import BrokenList
from jepa_wm.data.footage import Recorded
from jepa_wm.envs.policies import NoOp, Policy, Replay
from jepa_wm.errors import UserError


@dataclass(frozen=True)
class RecordedGoals(GoalSet):
    """Starts in held-out episodes, and the states so many steps later in them; one can be reached, as was shown.

    Args:
        actions: those that were recorded between start and goal, (E, ahead, A).
        episode: the names of the episodes, (E,).
        time: when the starts were in them, (E,).

    Source: the protocol of DINO-WM and stable-worldmodel, 25 steps in a budget of 50. There starts are drawn from all
    frames alike, of episodes that were trained on in the latter, and those that satisfy their goal are kept.
    """

    actions: np.ndarray
    episode: np.ndarray
    time: np.ndarray

    @classmethod
    def draw(cls, data: str, episodes: int, seed: int, task: Task = DRAWN) -> Self:
        """Starts in the split "test": one in each episode, in random order, then another in each, and so on."""
        if task.ahead is None:
            raise UserError("plan: got no task.ahead; expected how many steps after its start a recorded goal is")
        shards, ahead = EpisodeShards(data, "test"), task.ahead
        recorded = _read(shards)
        names = list(recorded)
        starts = _starts([recorded[name].frames for name in names], ahead, np.random.default_rng(seed))
        if not starts:
            raise UserError(f"plan: {shards} has no episode of more than {ahead - 1} steps; collect longer ones")
        number, time = np.array(starts).T
        of = [(recorded[names[i]], t) for i, t in starts]
        header = [each.header.factors for each, _ in of]
        return cls(
            state=np.stack([each.state[t] for each, t in of]),
            goal=np.stack([each.state[t + ahead] for each, t in of]),
            factors={name: np.asarray([factors[name] for factors in header]) for name in header[0]},
            excluded=0,
            actions=np.stack([each.actions[t : t + ahead] for each, t in of]),
            episode=np.array(names)[number],
            time=time,
        ).open(episodes, task.factors, seed)

    @property
    def sources(self) -> np.ndarray:
        return self.episode

    @abstractmethod
    def _random(self, seed: int) -> Policy:
        """Who acts at random in this environment."""

    def policies(self, seed: int) -> dict[str, Policy]:
        return {"noop": NoOp(self.actions.shape[-1]), "random": self._random(seed), "replay": Replay(self.actions)}


def _read(shards: EpisodeShards) -> dict[str, Recorded]:
    """The episodes that are not broken, by name."""
    found, broken = {}, BrokenList(str(shards), len(shards))
    for number in range(len(shards)):
        try:
            found[shards.key(number)] = shards.recorded(number)
        except BrokenSample as error:
            broken.add(error)
    return found


def _starts(frames: Sequence[int], ahead: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Every start, as the number of an episode and a time in it, in the order in which they are taken."""
    times = [random.permutation(max(count - ahead, 0)).tolist() for count in frames]
    starts = []
    for each in zip_longest(*times):
        starts += [(i, each[i]) for i in random.permutation(len(times)).tolist() if each[i] is not None]
    return starts
