"""`jepa-wm plan --goal`: play some episodes towards a goal of a user's own, and film them."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from jepa_wm.checkpoint import spec
from jepa_wm.control.album import Album
from jepa_wm.control.controller import Controller
from jepa_wm.control.expected import Expected
from jepa_wm.control.films import write_film
from jepa_wm.control.goals import goal_seed
from jepa_wm.control.own_goal import read_goal, region_of_goal
from jepa_wm.control.results import EPISODES, Row, write_rows
from jepa_wm.control.shown import Shown
from jepa_wm.control.spaces import narrow
from jepa_wm.envs import OURS, Region
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path
from jepa_wm.goals import Image
from jepa_wm.manifest import is_done, stage_run
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

STAGE = "plan --goal"
ALONE = np.ones(1, dtype=bool)


@dataclass(frozen=True)
class Place:
    """Where episodes are played.

    Args:
        environment: gymnasium id.
        size: side of the frames that the model was trained on.
        factors: factors of variation of a world of ours, by name; defaults if none are given.
        data: folder of shards that were recorded there, by whose frames films show what a model without a `PixelHead`
            imagined.
    """

    environment: str
    size: int
    factors: dict[str, Any] | None = None
    data: str | None = None

    def open(self) -> Shown:
        """The environment, just made.

        Raises:
            UserError: as `Shown`.
        """
        # Whatever their own budget of steps is, here it is the user's.
        options = {"size": self.size, "factors": self.factors, "max_steps": 10**9}
        return Shown(self.environment, self.size, options if self.environment in OURS else None)


@dataclass(frozen=True)
class Pursuit:
    """What is pursued, and for how long.

    Args:
        goal: a sentence, or the path of a picture.
        steps: environment steps in an episode at most.
        episodes: how many.
        seed: seeds starts and searches; no start is one of a collected episode.
    """

    goal: str
    steps: int
    episodes: int
    seed: int


class Played(NamedTuple):
    """One episode.

    `frames` uint8 (T+1, 3, H, W); `states` (T+1, P); `costs` (T,), of the plan in use at each step; `imagined` as
    the frames, None where nothing shows it, and `by`, as of `Expected`.
    """

    frames: np.ndarray
    states: np.ndarray
    costs: np.ndarray
    imagined: np.ndarray | None
    by: str | None = None


def pursue(model: str, out: str, place: Place, search: Search, pursuit: Pursuit) -> None:
    """Play episodes with a controller towards one goal; a film and a row of each is all that is written.

    Args:
        model: folder of a world model, or its name on the hub.
        out: folder for `episodes.jsonl` and `films/`.
        place: where.
        search: how to plan.
        pursuit: what for.

    Raises:
        UserError: if there are less than one episode, the goal is a file that is no picture or does not fit the model,
            the environment's actions are others than the model's, or `out` holds something else, such as a run
            towards the picture that was there before.
    """
    if min(pursuit.steps, pursuit.episodes) < 1 or pursuit.seed < 0:
        raise UserError(
            f"plan: got steps {pursuit.steps}, films {pursuit.episodes}, seed {pursuit.seed}; expected at least 1, 1 "
            "and 0: with a goal of one's own every episode is filmed"
        )
    goal, region = read_goal(pursuit.goal, place.environment), region_of_goal(pursuit.goal, place.environment)
    # Another picture may come to lie at the same path.
    picture = hashlib.sha256(goal.tobytes()).hexdigest() if isinstance(goal, np.ndarray) else None
    config = {"model": model, **asdict(place), "search": spec(search), **asdict(pursuit), "picture": picture}
    if is_done(out, STAGE, config):
        return
    folder = Path(out).resolve()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is there and was not made by this; name another folder by --out, or delete it")
    world_model = WorldModel.from_pretrained(model).to("cuda" if torch.cuda.is_available() else "cpu")
    if world_model.frames.state_dim and picture:
        raise UserError(
            f"plan: got the picture {pursuit.goal} as a goal, but {model} reads the state, "
            f"{world_model.frames.state_dim} numbers, beside what it sees, and no picture shows that. Expected a "
            "sentence, or a model that reads pictures alone; in Python, Observation(pixels, state) is a goal for it"
        )
    shown, rows, album = place.open(), list[Row](), Album.of(world_model, place.data, place.size)
    narrow(world_model.bounds, shown.world.action_space)
    # All of it aside: what does not fit, the first plan tells.
    with atomic_path(folder) as aside, stage_run(aside, STAGE, config):
        (aside / "films").mkdir(parents=True)
        for number in tqdm(range(pursuit.episodes), desc="plan", unit="episode", disable=None):
            expected = Expected(Controller(world_model, goal, search, pursuit.seed, shown.world, place.size), album)
            seed = goal_seed(pursuit.seed) + number
            played = _play(shown, expected, seed, pursuit.steps)
            film = f"films/episode-{number:02d}.webp"
            write_film(aside / film, played.frames, _still(expected.controller), played.imagined)
            rows.append({"episode": number, "seed": seed, **_told(played, region), "film": film, "imagined": played.by})
        write_rows(aside / EPISODES, rows)
    _say(rows, region)


def _play(shown: Shown, expected: Expected, seed: int, steps: int) -> Played:
    controller = expected.controller
    observation, _ = shown.world.reset(seed=seed)
    frames, states, costs, ended = [shown.frame(observation)], [shown.state(observation)], list[float](), False
    while not ended and len(costs) < steps:
        action = expected.act(frames[-1][None], ALONE, states[-1][None])[0]
        assert controller.plan is not None
        costs.append(float(controller.plan.cost[0]))
        observation, _, terminated, truncated, _ = shown.world.step(action)
        # Our worlds end where a goal of their own is met, which nobody wants here.
        ended = truncated or (terminated and shown.environment not in OURS)
        frames.append(shown.frame(observation))
        states.append(shown.state(observation))
    film, felt = np.stack(frames), np.stack(states)
    imagined = expected.pictures(film[None], felt[None])
    return Played(film, felt, np.array(costs), None if imagined is None else imagined[0], expected.by)


def _still(controller: Controller) -> np.ndarray | None:
    """The picture of the goal, where it is one."""
    goal = controller.goal
    return goal.seen.pixels[0].numpy() if isinstance(goal, Image) else None


def _told(played: Played, region: Region | None) -> Row:
    """What a row says of an episode; whether it was in the region at first and at last only where one is named."""
    first, last = (None if region is None else bool(region.contains(played.states[step])) for step in (0, -1))
    return {
        "steps": len(played.costs),
        "cost_first": float(played.costs[0]),
        "cost_last": float(played.costs[-1]),
        "there_first": first,
        "there_last": last,
    }


def _say(rows: list[Row], region: Region | None) -> None:
    for row in rows:
        there = "" if region is None else f", {'in' if row['there_last'] else 'not in'} {region.phrase} at the end"
        cost = f"cost of a plan {row['cost_first']:.4g} at first, {row['cost_last']:.4g} at last"
        print(f"{row['film']}: {row['steps']} steps, {cost}{there}")
    if region is None:
        print("plan: whether the goal was reached is not known here: see the films")
