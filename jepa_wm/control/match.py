"""A goal set, played by one policy after another under the same rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from jepa_wm.contracts import Plan
from jepa_wm.control.album import Album
from jepa_wm.control.controller import Controller
from jepa_wm.control.evaluate import Act, Looks, Outcome, make_world, play
from jepa_wm.control.expected import Expected
from jepa_wm.control.goals import GoalSet
from jepa_wm.control.results import Row, episode_rows, policy_row
from jepa_wm.control.seats import Turns
from jepa_wm.control.sight import Sight
from jepa_wm.envs.policies import Policy
from jepa_wm.envs.state_env import StateVectorEnv
from jepa_wm.goals import Goal
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

MakeController = Callable[[Goal, StateVectorEnv], Controller]
"""What plans towards a goal in environments."""


class Planned(NamedTuple):
    """What happened, what plans took, what was imagined in each film, uint8 (T, C, H, W), how many plans broke a
    constraint, and the first plan.

    Of those who do not plan there is nothing imagined; `by` is what shows it, see `Expected`. `seconds_per_plan` is
    of all environments that are planned at once, `seconds_each` the share of one of them; `evaluations` are the
    candidates of a plan, None where planners do not tell.
    """

    outcome: Outcome
    seconds_per_plan: float = 0.0
    seconds_each: float = 0.0
    evaluations: float | None = None
    imagined: Sequence[np.ndarray] = ()
    by: str | None = None
    broken: int = 0
    first: Plan | None = None


@dataclass(frozen=True)
class Match:
    """How a goal set is played.

    Args:
        goals: the goal set.
        size: height and width of the frames in pixels.
        steps: environment steps in an episode at most.
        check: steps from one look at whether a goal is met to the next.
        stop: whether episodes end when their goal is met, where the kind of goals lets them.
        parallel: episodes that are planned at once, as long as so many are not over; all if none is given.
        sees: side of the pictures that the model was trained on, to which frames are fitted if it is given.
        album: recorded frames, by which films show what a model without a `PixelHead` imagined.
    """

    goals: GoalSet
    size: int
    steps: int
    check: int = 1
    stop: bool = True
    parallel: int | None = None
    sees: int | None = None
    album: Album | None = None

    @property
    def stopped(self) -> bool:
        """Whether episodes end when their goal is met."""
        return self.stop and self.goals.ends

    @torch.no_grad()
    def allowed(self, model: WorldModel, search: Search) -> "Match":
        """The match without the goals that the model reads as lying where a constraint forbids to be; these are named.

        Where all do, they stay, and planning says why it cannot be.
        """
        count = len(self.goals.state)
        forbidden, size = np.zeros(count, dtype=bool), self.parallel or count
        for start in range(0, count if search.constraints else 0, size):
            episodes = np.arange(start, min(start + size, count))
            goals = self.goals.take(episodes)
            wanted = Sight(model, self.sees).goal(goals.wanted(make_world(goals, self.size))).settled(model)
            for constraint in search.constraints:
                found = constraint.forbids(model, wanted)
                forbidden[episodes] |= found is not None and found.cpu().numpy()
        if not forbidden.any() or forbidden.all():
            return self
        left_out = np.flatnonzero(forbidden).tolist()
        print(f"plan: a constraint forbids {len(left_out)} of {count} {self.goals.kind} goals, left out: {left_out}")
        kept = self.goals.take(~forbidden)
        return replace(self, goals=replace(kept, excluded=kept.excluded + len(left_out)))

    def scripted(self, name: str, policy: Policy) -> Outcome:
        """What happens when a scripted policy plays; it sees the states of all episodes."""
        world = make_world(self.goals, self.size)

        def act(pixels: np.ndarray, active: np.ndarray, state: np.ndarray) -> np.ndarray:
            return policy(state, self.goals.goal, world.factor_values)

        return self._play(world, act, name, 0, lambda active: False)

    def planned(self, name: str, make: MakeController, films: int) -> "Planned":
        """What happens when a controller plays, `parallel` episodes at once; of the first, films are kept.

        Where one is over the next begins, so that what is planned at once stays as much; each goes as it would alone.
        """
        goals = self.goals.take(np.arange(min(self.parallel or len(self.goals.state), len(self.goals.state))))
        world = make_world(goals, self.size)
        expected = Expected(make(goals.wanted(world), world), self.album)
        controller = expected.controller

        def begin(begun: np.ndarray, here: GoalSet) -> None:
            expected.begin(begun, here.wanted(world))

        outcome = self._play(world, expected.act, name, films, controller.is_due, Turns(controller.cycle, begin))
        drawn = expected.pictures(outcome.frames, outcome.states)
        seconds, plans = float(outcome.seconds.sum()), max(expected.plans, 1)
        return Planned(
            outcome,
            seconds / max(controller.plans, 1),
            seconds / plans,
            expected.evaluations / plans or None,
            () if drawn is None else list(drawn),
            expected.by,
            controller.broken,
            expected.first,
        )

    def rows(self, name: str, outcome: Outcome) -> tuple[Row, list[Row]]:
        """The row of a policy, and those of its episodes."""
        return (
            policy_row(name, self.goals, outcome, self.stopped),
            episode_rows(name, self.goals, outcome, self.stopped),
        )

    def _play(
        self, world: StateVectorEnv, act: Act, name: str, films: int, looks: Looks, turns: Turns | None = None
    ) -> Outcome:
        check, label = self.check if self.goals.ends else 1, f"{self.goals.kind} goals, {name}"
        return play(world, self.goals, act, self.steps, self.stopped, label, films, check, looks, turns)
