"""Many environments at once do what each does alone; goal sets and films hold what they say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from jepa_wm.contracts import Cost, Generators, Plan
from jepa_wm.control import Controller
from jepa_wm.control.evaluate import make_world, play
from jepa_wm.control.films import SCALE, write_film
from jepa_wm.control.goals import GoalSet
from jepa_wm.control.two_rooms_goals import RegionGoals, RoomGoals
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.encoders import GridPool, PatchFrames, StateFrames, ViT
from jepa_wm.envs.language import REGIONS, region_of
from jepa_wm.envs.policies import NoisyExpert
from jepa_wm.envs.vector import TwoRoomsVectorEnv
from jepa_wm.observations import Observation
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel
from tests.planners import Answering

FACTORS = {"door_position": "sample", "agent_size": "sample"}


def alone(goals: GoalSet, number: int) -> tuple[TwoRoomsVectorEnv, np.ndarray, dict[str, np.ndarray]]:
    """One episode of a goal set in an environment of its own, with its goal and its factors."""
    world = TwoRoomsVectorEnv(1, size=8, max_steps=1000, autoreset_mode="Disabled")
    own = {name: value[number : number + 1] for name, value in goals.factors.items()}
    goal = goals.goal[number : number + 1]
    world.reset(seed=5, options={"state": goals.state[number : number + 1], "goal": goal, "factors": own})
    return world, goal, world.factor_values


@pytest.mark.parametrize("stop", [True, False])
def test_a_batch_plays_what_each_episode_plays_alone(stop: bool) -> None:
    goals = RoomGoals.sample(8, FACTORS, seed=2)
    world, expert, steps = make_world(goals, 8), NoisyExpert(0.0), 45
    drift = np.array([[0.4, 0.7]], np.float32)

    def act(pixels: np.ndarray, active: np.ndarray, state: np.ndarray) -> np.ndarray:
        # Past its goal the expert would stay; the drift shows whether an episode is really over.
        towards = expert(world.state, goals.goal, world.factor_values)
        return np.where(goals.reached(world.state)[:, None], drift, towards)

    outcome = play(world, goals, act, steps, stop, "batch")
    for number in range(8):
        single, goal, factors = alone(goals, number)
        states, solved = [single.state[0].copy()], False
        for _ in range(steps):
            met = np.linalg.norm(single.state[0] - goal[0]) < 16 / 224
            solved |= bool(met)
            if not (stop and solved):
                single.step(drift if met else expert(single.state, goal, factors))
            states.append(single.state[0].copy())
        np.testing.assert_array_equal(outcome.states[number], states)
        distance = np.linalg.norm(np.stack(states[1:]) - goal[0], axis=-1)
        np.testing.assert_array_equal(outcome.reached[number], distance < 16 / 224)
    assert outcome.ever.any() and outcome.last.sum() <= outcome.ever.sum()
    assert (outcome.last == outcome.ever).all() == stop


def test_starts_that_are_left_out_are_counted_one_by_one() -> None:
    episodes, seed = 120, 11
    goals = RegionGoals.sample(episodes, FACTORS, seed=seed)
    random = np.random.default_rng(seed)
    states, regions, excluded, number = [], [], 0, 0
    while len(states) < episodes:
        world = TwoRoomsVectorEnv(1, size=8, factors=FACTORS)
        world.reset(seed=seed + number)
        region = int(random.integers(len(REGIONS)))
        if region_of(world.state[0]) == region:
            excluded += 1
        else:
            states.append(world.state[0])
            regions.append(region)
        number += 1
    assert excluded > 0 and goals.excluded == excluded
    np.testing.assert_array_equal(goals.state, states)
    assert goals.regions.tolist() == regions


class Listener(Answering):
    """A planner that keeps the costs of standing still, and stands still."""

    def __init__(self) -> None:
        self.costs = torch.empty(0)

    def answer(self, cost: Cost, mean: Tensor, generator: Generators) -> Plan:
        self.costs = cost(torch.zeros_like(mean)[:, None])[:, 0]
        return Plan(torch.zeros_like(mean), self.costs, {})


def test_each_active_environment_is_planned_towards_its_own_image() -> None:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    model = WorldModel(encoder, TransformerDynamics(6, trunk=Trunk(12, 1, 2))).eval()
    shades = torch.tensor([0, 80, 160, 255], dtype=torch.uint8)[:, None, None, None]
    images, pixels = shades.expand(4, 3, 16, 16), np.full((4, 3, 16, 16), 40, np.uint8)
    pixels[2:] = 200

    def costs(goal: Tensor, seen: np.ndarray, active: list[bool]) -> list[float]:
        listener = Listener()
        Controller(model, goal, Search(listener, 2)).act(seen, np.array(active))
        return listener.costs.tolist()

    single = [costs(images[i : i + 1], pixels[i : i + 1], [True])[0] for i in range(4)]
    assert min(abs(a - b) for i, a in enumerate(single) for b in single[:i]) > 0.05 * max(single)
    for active in ([True] * 4, [False, True, False, True], [True, True, False, True], [False, False, True, False]):
        expected = [cost for cost, keep in zip(single, active, strict=True) if keep]
        assert costs(images, pixels, active) == pytest.approx(expected, rel=2e-2)
    nobody = Controller(model, images, Search(Listener(), 2)).act(pixels, np.zeros(4, dtype=bool))
    np.testing.assert_array_equal(nobody, np.zeros((4, 2)))
    shared = [costs(images[:1], pixels[i : i + 1], [True])[0] for i in (0, 2)]
    assert costs(images[0], pixels, [True, False, True, False]) == pytest.approx(shared, rel=2e-2)


def test_each_active_environment_feels_its_own_state_and_has_the_state_of_its_own_goal() -> None:
    torch.manual_seed(0)
    frames = StateFrames(PatchFrames(), 2, 4)
    encoder = ViT(patch=16, dim=8, depth=1, heads=2)
    model = WorldModel(encoder, TransformerDynamics(12, trunk=Trunk(12, 1, 2)), frames=frames).eval()
    images, pixels = torch.zeros(4, 3, 16, 16, dtype=torch.uint8), np.zeros((4, 3, 16, 16), np.uint8)
    state, goals = np.arange(8, dtype=np.float32).reshape(4, 2), -(torch.arange(8.0).reshape(4, 2) ** 2)

    def costs(active: list[bool]) -> list[float]:
        listener = Listener()
        Controller(model, Observation(images, goals), Search(listener, 2)).act(pixels, np.array(active), state)
        return listener.costs.tolist()

    with torch.no_grad():
        felt, wanted = (model.encode(images[:, None], s[:, None]) for s in (torch.from_numpy(state), goals))
    expected = (felt - wanted).square().mean(dim=(1, 2, 3)).tolist()
    for active in ([True] * 4, [False, True, False, True], [False, False, True, False]):
        kept = [cost for cost, keep in zip(expected, active, strict=True) if keep]
        assert costs(active) == pytest.approx(kept, rel=2e-2)


def test_a_film_holds_every_frame_beside_the_goal(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    goal = random.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    imagined = random.integers(0, 256, frames.shape, dtype=np.uint8)
    for name, beside, expected in (("image", goal, None), ("text", None, None), ("imagined", goal, imagined)):
        write_film(tmp_path / f"{name}.webp", frames, beside, expected)
        with Image.open(tmp_path / f"{name}.webp") as film:
            shown = [np.asarray(page.convert("RGB")) for page in ImageSequence.Iterator(film)]
        small = np.stack(shown)[:, SCALE // 2 :: SCALE, SCALE // 2 :: SCALE].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(small[..., :8], frames)
        if expected is not None:
            np.testing.assert_array_equal(small[..., 11:19], expected)
        if beside is not None:
            np.testing.assert_array_equal(small[..., -8:], np.broadcast_to(goal, frames.shape))
