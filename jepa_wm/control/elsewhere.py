"""Success in stable-worldmodel's environments, towards what held-out episodes came to there."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from jepa_wm.contracts import Plan
from jepa_wm.control.controller import Controller
from jepa_wm.control.films import write_film
from jepa_wm.control.goals import digest
from jepa_wm.control.results import Results, Row, trace_row
from jepa_wm.data import EpisodeShards
from jepa_wm.errors import UserError
from jepa_wm.files import write_json
from jepa_wm.interop.evaluate import RecordedEpisodes, WorldGoals, evaluate, scripted
from jepa_wm.interop.worlds import make, protocol_of
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

WANTED = {
    "text_episodes": 0,
    "goals": None,
    "check": 1,
    "stop": True,
    "parallel": None,
    "task.least_steps": 0,
    "task.factors": None,
}
"""What must be so, of the arguments of `plan`: their own code plays, in worlds of theirs."""


@dataclass(frozen=True)
class Contest:
    """What is played where.

    Args:
        environment: of stable-worldmodel.
        data: folder of shards that were recorded in it; goals are of its split "test".
        episodes: how many.
        steps: environment steps in an episode at most.
        ahead: recorded steps from a start to its goal.
        seed: draws starts, and what is random.
        films: episodes that are filmed.
    """

    environment: str
    data: str
    episodes: int
    steps: int
    ahead: int
    seed: int
    films: int

    def draw(self) -> WorldGoals:
        """Starts and goals.

        Raises:
            UserError: as `WorldGoals.draw`.
        """
        recorded = RecordedEpisodes(EpisodeShards(self.data, "test"), self.environment)
        return WorldGoals.draw(recorded, self.episodes, self.seed, self.ahead)


def check_there(environment: str, config: dict[str, Any]) -> None:
    """Refuse what cannot be asked for there, of the arguments of `plan`.

    Raises:
        UserError: if something is.
    """
    protocol_of(environment)
    asked = {**config, **{f"task.{name}": value for name, value in config["task"].items()}}
    wrong = {name: asked[name] for name, value in WANTED.items() if asked[name] != value}
    if wrong or asked["task.ahead"] is None:
        got = ", ".join(f"{name} {value}" for name, value in (wrong or {"task.ahead": None}).items())
        raise UserError(
            f"plan: got {got} in {environment}; expected goals that were recorded, task.ahead steps later, "
            "all at once, until each is met, as in protocols/swm_push_t"
        )


class Planning:
    """A controller as a policy of stable-worldmodel.

    Attributes:
        controller: what plans; None before the first step.
        first: what its first search found; None before it.
        seconds: what it took in each environment, what it took for several at once in equal parts, (E,).
        frames: of each environment that is filmed, before every step until it was over, uint8 (C, H, W).
        goal: pictures of the goals, uint8 (E, C, H, W).

    Args:
        make: the controller for pictures of goals.
        films: environments that are filmed, the first ones.
    """

    goal: np.ndarray

    def __init__(self, make: Callable[[np.ndarray], Controller], films: int) -> None:
        self._make = make
        self.controller: Controller | None = None
        self.first: Plan | None = None
        self.seconds = np.zeros(0)
        self.frames: list[list[np.ndarray]] = [[] for _ in range(films)]

    def set_env(self, env: Any) -> None:
        """Nothing is asked of the environments."""

    def get_action(self, info_dict: dict[str, Any]) -> np.ndarray:
        """The next action of each environment, (E, A); zeros where it is over."""
        pixels = np.asarray(info_dict["pixels"])[:, -1].transpose(0, 3, 1, 2)
        over = np.asarray(info_dict.get("terminated", np.zeros(len(pixels))), bool)
        active = ~over.reshape(len(pixels), -1)[:, -1]
        if self.controller is None:
            self.goal = np.asarray(info_dict["goal"])[:, -1].transpose(0, 3, 1, 2)
            self.controller, self.seconds = self._make(self.goal), np.zeros(len(pixels))
        for kept, frame, here in zip(self.frames, pixels, active, strict=False):
            kept += [frame.copy()] if here else []
        start = time.perf_counter()
        actions = self.controller.act(pixels, active)
        self.seconds += active * (time.perf_counter() - start) / max(active.sum(), 1)
        self.first = self.first or self.controller.plan
        return actions


def count_there(model: WorldModel, search: Search, contest: Contest, sees: int | None, folder: Path) -> Results:
    """Play a goal set in their environments: no action, uniform actions, the recorded ones, and what is planned.

    Args:
        model: the world model; its actions are kept within the environment's bounds.
        search: how to plan.
        contest: what is played where.
        sees: side of the pictures that the model was trained on; those that are seen if None.
        folder: where films go, and the goal set.

    Raises:
        UserError: if stable-worldmodel is not installed, the model reads states or has other actions than the
            environment, or there are too few starts.
    """
    goals = contest.draw()
    _narrow(model, contest.environment)
    planning = Planning(lambda goal: Controller(model, goal, search, contest.seed, size=sees), contest.films)
    name = type(search.planner).__name__.lower()
    policies = {**scripted(goals, contest.seed, contest.steps), name: planning}
    names = [goals.recorded.shards.key(int(number)) for number in goals.episode]
    starts = [[contest.environment, *each] for each in zip(names, goals.time.tolist(), strict=True)]
    told = {
        "environment": contest.environment,
        "episode": names,
        "time": goals.time.tolist(),
        "ahead": goals.ahead,
        "data_hash": (goals.recorded.shards.manifest or {}).get("data_hash"),
    }
    write_json(folder / "goals-image.json", told | {"excluded": goals.excluded})
    rows, episodes = list[Row](), list[Row]()
    for policy, player in policies.items():
        found = evaluate(player, goals, contest.steps)
        solved = found.pop("solved")
        same = {"goal": "image", "policy": policy, "goals": digest(told)}
        sources = len(set(names))
        rows.append({**same, **found, "success_any": found["success"], "success_last": None, "sources": sources})
        for start, source, success in zip(starts, names, solved, strict=True):
            row = {**same, "episode": digest([*start, goals.ahead]), "source": source, "success": success}
            episodes.append(row | {"success_any": success, "success_last": None, "first": None})
    assert planning.controller is not None
    plans = planning.controller.plans
    rows[-1] |= {
        "seconds_per_plan": float(planning.seconds.sum()) / max(plans, 1),
        "broken_plans": planning.controller.broken,
    }
    for row, seconds in zip(episodes[-len(names) :], planning.seconds.tolist(), strict=True):
        row["seconds"] = round(seconds, 6)
    return Results(rows, episodes, _films(folder / "films", planning, solved), {"image": trace_row(planning.first)})


def _narrow(model: WorldModel, environment: str) -> None:
    """Bring a model's bounds within those of an environment: of packed data only a spread is known."""
    world, bounds = make(environment), model.bounds
    space = world.action_space
    world.close()
    if not isinstance(space, spaces.Box) or space.shape != bounds.low.shape:
        raise UserError(
            f"plan: {environment} has actions {space}; expected {len(bounds.low)} numbers, as the model was trained on"
        )
    if model.frames.state_dim:
        raise UserError(
            f"plan: the model reads the state, {model.frames.state_dim} numbers, which {environment} does not tell a "
            "policy; expected one that reads pictures alone"
        )
    low, high = (torch.from_numpy(side).to(bounds.low) for side in (space.low, space.high))
    bounds.low.copy_(bounds.low.clamp(low, high))
    bounds.high.copy_(bounds.high.clamp(low, high))


def _films(folder: Path, planning: Planning, solved: list[bool]) -> list[Row]:
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for number, (frames, goal, success) in enumerate(zip(planning.frames, planning.goal, solved, strict=False)):
        write_film(folder / f"image-{number:02d}.webp", np.stack(frames), goal)
        index.append({"file": f"image-{number:02d}.webp", "goal": "image", "sentence": None, "success": success})
    return index
