"""A controller as a policy of any gymnasium environment: what it sees, what it does, and where episodes end."""

from pathlib import Path
from unittest.mock import patch

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from PIL import Image, ImageOps
from torch import Tensor

from jepa_wm.contracts import Cost, Generators, Plan
from jepa_wm.control import Controller
from jepa_wm.control.album import Album
from jepa_wm.control.collect import collect
from jepa_wm.control.expected import Expected
from jepa_wm.control.landmarks import Landmarks
from jepa_wm.control.match import Match
from jepa_wm.control.route import Route
from jepa_wm.control.spaces import Actions
from jepa_wm.control.two_rooms_goals import RoomGoals
from jepa_wm.data import EpisodeShards
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.dynamics.heads import PixelHead
from jepa_wm.encoders import GridPool, StateFrames, ViT
from jepa_wm.encoders.frames import PooledFrames
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.envs import TWO_ROOMS
from jepa_wm.errors import UserError
from jepa_wm.goals import Image as Seen
from jepa_wm.goals import Latents, Smoothness, StepsToGo, Sum
from jepa_wm.observations import Observation
from jepa_wm.planning import CEM, Amortised, CategoricalCEM, Hybrid
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel
from tests.planners import Answering

SIZE = 16
BLACK = np.zeros((3, SIZE, SIZE), np.uint8)


def small(low: list[float], high: list[float], skip: int = 2, head: bool = False, felt: int = 0) -> WorldModel:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    frames = StateFrames(PooledFrames(), felt, 2) if felt else PooledFrames()
    width = frames.latent_dim(encoder)
    dynamics = TransformerDynamics(width, (1, 1), len(low), skip, trunk=Trunk(12, 1, 2))
    with torch.no_grad():
        for parameter in dynamics.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    bounds = ActionBounds(len(low), skip)
    bounds.prepare({"action_mean": low, "action_std": high, "action_bounds": (low, high)})
    heads = {"looks": PixelHead(width, size=8, width=4)} if head else None
    return WorldModel(encoder, dynamics, frames=frames, bounds=bounds, heads=heads).eval()


def box(**options: bool | int) -> WorldModel:
    return small([-1.0, -1.0], [1.0, 1.0], **options)  # type: ignore[arg-type]


class Told(Answering):
    """A planner that answers what it is told, and keeps where it was to start from and what standing still costs."""

    def __init__(self, answer: list[float] | list[list[float]]) -> None:
        self.told, self.means, self.costs = torch.tensor(answer), list[Tensor](), list[Tensor]()
        self.seeds = list[int | list[int]]()

    def answer(self, cost: Cost, mean: Tensor, generator: Generators) -> Plan:
        self.means.append(mean.clone())
        shared = isinstance(generator, torch.Generator)
        self.seeds.append(generator.initial_seed() if shared else [each.initial_seed() for each in generator])
        self.costs.append(cost(torch.zeros_like(mean)[:, None])[:, 0])
        return Plan(self.told.expand_as(mean).clone(), self.costs[-1], {})


class Choosing(Told):
    """One that answers with choices."""

    one_hot = True


class TestSight:
    def test_the_same_picture_is_the_same_in_any_form(self) -> None:
        model, random = box(), np.random.default_rng(0)
        picture, goal = (random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(2))

        def cost(seen: object, goal: object = goal) -> tuple[float, tuple[int, ...]]:
            planner = Told([0.0])
            done = Controller(model, goal, Search(planner, 2)).act(seen)  # type: ignore[arg-type]
            return float(planner.costs[0][0]), done.shape

        first = np.moveaxis(picture, -1, 0)
        single = cost(picture)
        assert single[0] > 0 and single[1] == (2,)
        assert cost({"pixels": first, "state": np.zeros(2)}) == cost(first) == single
        assert cost(picture, torch.from_numpy(np.moveaxis(goal, -1, 0))) == single
        for batch in (picture[None], (picture,), first[None]):
            assert cost(batch) == (single[0], (1, 2))

    def test_pictures_of_another_size_are_fitted_as_collected_ones_are(self) -> None:
        smooth = np.linspace(0, 255, 40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8)
        fitted = np.asarray(ImageOps.fit(Image.fromarray(smooth), (SIZE, SIZE), Image.Resampling.BICUBIC))
        controller = Controller(box(), smooth, size=SIZE)
        seen, single = controller.sight.see(smooth)
        assert single and seen.pixels.shape == (1, 3, SIZE, SIZE)
        assert np.abs(seen.pixels[0].permute(1, 2, 0).numpy().astype(int) - fitted).max() <= 2
        assert torch.equal(controller.goal.seen.pixels, seen.pixels)  # type: ignore[attr-defined]
        controller.goal = StepsToGo(Observation(torch.from_numpy(smooth)), weight=2.0)
        assert isinstance(controller.goal, StepsToGo) and controller.goal.weight == 2.0
        assert torch.equal(controller.goal.seen.pixels, seen.pixels)

    def test_pictures_in_what_a_goal_is_made_of_are_fitted(self) -> None:
        large = Seen(Observation(torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)))
        ways = Landmarks(torch.randn(6, 1, 6), torch.zeros(6), 1).ways_to(torch.tensor([0]))
        controller, other = Controller(box(), large, size=SIZE), Latents(torch.zeros(1, 1, 6))
        alone = controller.goal.seen.pixels  # type: ignore[attr-defined]
        controller.goal = Sum([Route(Sum([large, other]), ways, weight=3.0), large], weight=2.0)
        route, image = controller.goal.goals  # type: ignore[attr-defined]
        assert (controller.goal.weight, route.weight, route.goal.goals[1]) == (2.0, 3.0, other)
        for goal in (image, route.goal.goals[0]):
            assert torch.equal(goal.seen.pixels, alone) and alone.shape == (1, 3, SIZE, SIZE)

    def test_states_that_the_model_does_not_read_may_be_anything(self) -> None:
        picture = np.zeros((SIZE, SIZE, 3), np.uint8)
        for state in (np.zeros((2, 3)), 0.5, "here"):
            seen, _ = Controller(box(), BLACK).sight.see({"pixels": picture, "state": state})
            assert seen.state is None

    def test_pictures_are_fitted_by_the_encoders_preprocessing_if_it_is_of_this_size(self) -> None:
        """Three bands: the whole picture squeezed into a square has them all, its middle is the second."""
        bands, model = np.repeat(np.array([0, 100, 200], np.uint8), SIZE), box()
        picture = np.tile(bands[None, :, None], (SIZE, 1, 3))
        for size, expected in ((SIZE, [0, 100, 200]), (2 * SIZE, [100, 100, 100])):
            model.encoder.preprocessing = Preprocessing(size, crop=0)
            controller = Controller(model, picture, size=SIZE)
            seen = controller.sight.see(picture)[0].pixels
            assert seen.shape == (1, 3, SIZE, SIZE) and seen[0, 0, :, [0, SIZE // 2, -1]].tolist() == [expected] * SIZE
            assert torch.equal(controller.goal.seen.pixels, seen)  # type: ignore[attr-defined]

    @pytest.mark.parametrize("seen", [np.zeros(4), {"state": np.zeros(4)}, None, np.zeros((4, 4, 3))])
    def test_what_is_no_picture_is_refused(self, seen: object) -> None:
        with pytest.raises(UserError, match="for what is seen; expected pictures"):
            Controller(box(), BLACK).act(seen)

    def test_a_state_is_felt_from_the_observation_or_beside_it(self) -> None:
        model, state = box(felt=3), np.array([1.0, -2.0, 3.0])
        goal = Observation(torch.from_numpy(BLACK), torch.zeros(3))
        costs = []
        for given in (({"pixels": BLACK, "state": state},), (BLACK, None, state), (BLACK[None], None, state[None])):
            planner = Told([0.0])
            Controller(model, goal, Search(planner, 2)).act(*given)  # type: ignore[arg-type]
            costs.append(float(planner.costs[0][0]))
        assert costs[0] > 0 and costs[0] == costs[1] == costs[2]
        with pytest.raises(UserError, match="got a state of none; expected 3"):
            Controller(model, goal, Search(Told([0.0]), 2)).act(BLACK)

    @pytest.mark.parametrize(
        "goal", [np.stack([BLACK] * 3), ["left", "right", "up"], Latents(torch.zeros(3, 1, 6))], ids=str
    )
    def test_goals_for_other_environments_are_refused(self, goal: object) -> None:
        controller = Controller(box(), goal, Search(Told([0.0]), 2))  # type: ignore[arg-type]
        with pytest.raises(UserError, match="expected 1 or 2, one an environment"):
            controller.act(np.stack([BLACK, BLACK]))

    def test_as_many_states_and_ends_as_environments(self) -> None:
        goal, two = Observation(torch.from_numpy(BLACK), torch.zeros(3)), np.stack([BLACK, BLACK])
        controller = Controller(box(felt=3), goal, Search(Told([0.5]), 2))
        controller.reset(np.array([True, False]))
        for state, said in (
            (np.zeros((3, 3)), r"states \(3, 3\) for 2"),
            (np.zeros(3), r"\(3,\) for 2"),
            ("x", "numbers"),
        ):
            with pytest.raises(UserError, match=said):
                controller.act(two, None, state)
        assert controller.act(two, [False, True], np.zeros((2, 3))).tolist() == [[0, 0], [0.5, 0.5]]  # type: ignore[arg-type]
        with pytest.raises(UserError, match=r"got active \(1,\); expected \(2,\)"):
            controller.act(two, np.array([True]), np.zeros((2, 3)))
        with pytest.raises(UserError, match=r"got ended \(3,\); expected \(2,\)"):
            controller.reset(np.zeros(3, dtype=bool))


class TestActions:
    @pytest.mark.parametrize(
        "space",
        [
            spaces.Box(-1, 1, (2, 3), np.float32),
            spaces.Discrete(4, start=-1),
            spaces.MultiDiscrete([3, 2]),
            spaces.MultiDiscrete([[3, 2], [2, 4]]),
            spaces.MultiBinary(3),
        ],
        ids=str,
    )
    def test_vectors_become_the_actions_that_they_are_made_of(self, space: spaces.Space) -> None:
        class World(gymnasium.Env):
            action_space = space

        width = spaces.flatdim(space)
        bounds = ActionBounds(width, 1)
        if not isinstance(space, spaces.Box):
            bounds.low.zero_()
        space.seed(0)
        chosen = [space.sample() for _ in range(20)]
        vectors = np.stack([spaces.flatten(space, action) for action in chosen]).astype(np.float32)
        done = Actions(World(), bounds).of(vectors)
        assert all(action in space for action in done)
        np.testing.assert_array_equal(done, np.stack(chosen))
        with pytest.raises(UserError, match=f"expected {width + 1} numbers between"):
            Actions(World(), ActionBounds(width + 1, 1))

    def test_whole_numbers_are_the_nearest(self) -> None:
        class World(gymnasium.Env):
            action_space = spaces.Box(-1, 1, (1,), np.int32)

        done = Actions(World(), ActionBounds(1, 1)).of(np.array([[-0.99], [-0.4], [0.2], [0.99]], np.float32))
        assert done.dtype == np.int32 and done[:, 0].tolist() == [-1, 0, 0, 1]

    def test_what_rounding_led_beyond_a_bound_is_brought_back_to_it(self) -> None:
        class World(gymnasium.Env):
            action_space = spaces.Box(-2, 2, (1,), np.float32)

        bounds = ActionBounds(1, 1)
        bounds.low.fill_(-2.000001)
        bounds.high.fill_(2.000001)
        vectors = torch.stack([bounds.low, bounds.high]).numpy()
        assert not any(vector in World.action_space for vector in vectors)
        done = Actions(World(), bounds).of(vectors)
        assert done.tolist() == [[-2], [2]] and all(action in World.action_space for action in done)

    def test_actions_beyond_those_of_the_environment_are_refused(self) -> None:
        world = gymnasium.make("Pendulum-v1")
        Controller(small([-2.0], [2.0]), BLACK, env=world)
        with pytest.raises(UserError, match=r"actions Box.*; expected 1 numbers between \[-3.0\] and \[2.0\]"):
            Controller(small([-3.0], [2.0]), BLACK, env=world)
        with pytest.raises(UserError, match=r"actions Text.*; expected"):
            world.action_space = spaces.Text(3)  # type: ignore[assignment]
            Controller(small([-2.0], [2.0]), BLACK, env=world)


class TestEnvironments:
    def test_one_environment_alone_does_what_it_does_among_others(self) -> None:
        # In bfloat16 the cost of one candidate is rounded otherwise than that of three, and another may win by a hair.
        model, search = box().double(), Search(CEM(16, 4, 2), horizon=3)
        world = gymnasium.make_vec(TWO_ROOMS, 3, vectorization_mode="vector_entry_point", size=SIZE)
        seen, info = world.reset(seed=4)
        together = Controller(model, info["goal_pixels"], search, env=world)
        done = [together.act(seen) for _ in range(3)]
        assert world.action_space.contains(done[0]) and together.plans == 2
        assert (together.plan.trace["cost"].diff(dim=0) <= 0).all()  # type: ignore[union-attr]
        for number in range(3):
            single = gymnasium.make(TWO_ROOMS, size=SIZE)
            observation, info = single.reset(seed=4 + number)
            alone = Controller(model, info["goal_pixels"], search, env=single)
            for before in done:
                action = alone.act(observation)
                assert single.action_space.contains(action)
                np.testing.assert_allclose(action, before[number], atol=1e-3)

    @pytest.mark.parametrize("vectorised", [False, True])
    def test_discrete_actions_of_what_is_rendered(self, vectorised: bool) -> None:
        model = small([0.0, 0.0], [1.0, 1.0])
        options = {"render_mode": "rgb_array"}
        world = (
            gymnasium.make_vec("CartPole-v1", 2, **options) if vectorised else gymnasium.make("CartPole-v1", **options)
        )
        world.reset(seed=0)
        goal = world.render()
        for answer, chosen in (([0.2, 0.7], 1), ([0.7, 0.2], 0)):
            controller = Controller(model, goal, Search(Choosing(answer), 2), env=world, size=SIZE)
            action = controller.act(world.render())
            assert world.action_space.contains(action if vectorised else action.item())
            assert (action == chosen).all()
            world.step(action if vectorised else action.item())


class TestEpisodes:
    def run(self, late: bool) -> tuple[Controller, Told]:
        """Two environments in the middle of their plans; the first one has just ended."""
        mode = AutoresetMode.NEXT_STEP if late else AutoresetMode.SAME_STEP
        world = gymnasium.make_vec(
            TWO_ROOMS, 2, vectorization_mode="vector_entry_point", size=SIZE, autoreset_mode=mode
        )
        planner = Told([0.5])
        controller = Controller(box(skip=2), BLACK, Search(planner, 4, replan=2), env=world)
        for _ in range(3):
            controller.act(np.stack([BLACK, BLACK]))
        controller.reset(np.array([True, False]))
        return controller, planner

    def test_what_began_anew_is_planned_at_once_from_the_middle_and_the_other_goes_on(self) -> None:
        controller, planner = self.run(late=False)
        seen = np.stack([BLACK + 90, BLACK])
        controller.act(seen)
        assert controller.planned.tolist() == [True, False] and controller.block.tolist() == [0, 1]
        assert planner.means[1].shape == (1, 4, 2) and planner.means[1].abs().max() == 0
        controller.act(seen)
        assert controller.planned.tolist() == [False, True]
        assert planner.means[2][0, :, 0].tolist() == [0.5, 0.5, 0.0, 0.0]
        controller.reset()
        controller.act(seen)
        assert planner.means[3].shape == (2, 4, 2) and planner.means[3].abs().max() == 0

    def test_where_an_end_takes_a_step_the_last_picture_of_an_episode_is_not_planned_from(self) -> None:
        controller, planner = self.run(late=True)
        controller.act(np.stack([BLACK + 200, BLACK]))
        assert not controller.planned.any()
        controller.act(np.stack([BLACK + 90, BLACK]))
        assert controller.planned.all() and planner.means[1][0].abs().max() == 0
        assert planner.means[1][1, :, 0].tolist() == [0.5, 0.5, 0.0, 0.0]
        fresh = Told([0.5])
        Controller(controller.model, BLACK, Search(fresh, 4, replan=2)).act(BLACK + 90)
        assert planner.costs[1][0].item() == pytest.approx(fresh.costs[0].item(), rel=1e-2)
        # The next plans are due together again.
        for _ in range(4):
            controller.act(np.stack([BLACK, BLACK]))
        assert planner.means[2].shape == (2, 4, 2)

    def test_an_environment_that_waited_plans_once_it_is_active(self) -> None:
        controller, seen = Controller(box(skip=2), BLACK, Search(Told([0.5]), 2)), np.stack([BLACK, BLACK])
        told = []
        for active in ([False, True], [True, True], [True, True], [True, True]):
            done = controller.act(seen, np.array(active))
            np.testing.assert_array_equal(done, 0.5 * np.array(active)[:, None].repeat(2, axis=1))
            told.append(controller.planned.tolist())
        assert told == [[False, True], [True, False], [False, True], [True, False]]

    def test_smooth_actions_follow_the_one_that_was_done_last(self) -> None:
        planner, seen = Told([[0.0], [0.5], [1.0], [1.0]]), np.stack([BLACK, BLACK])
        search = Search(planner, 4, replan=2, terms=[Smoothness(weight=2.0)])
        controller = Controller(small([0.0, 0.0], [1.0, 1.0]), Smoothness(), search)
        for _ in range(5):
            controller.act(seen)
        controller.reset(np.array([True, False]))
        for _ in range(4):
            controller.act(seen)
        # A plan of zeros changes nothing of itself; where .5 was done, one of its four changes is by half the bounds.
        expected = [[0.0, 0.0], [0.75, 0.75], [0.0], [0.75]]
        assert [cost.tolist() for cost in planner.costs] == expected

    def test_each_search_draws_anew(self) -> None:
        planner = Told([0.0])
        controller = Controller(box(skip=2), BLACK, Search(planner, 2), seed=40)
        for _ in range(5):
            controller.act(BLACK)
        assert planner.seeds == [40, 41, 42]

    def test_an_episode_that_begins_later_has_the_seeds_of_one_that_begins_first(self) -> None:
        planner, seen = Told([0.0]), np.stack([BLACK, BLACK])
        controller = Controller(box(skip=2), BLACK, Search(planner, 2), seed=40)
        for _ in range(4):
            controller.act(seen)
        controller.reset(np.array([False, True]))
        for _ in range(4):
            controller.act(seen)
        assert planner.seeds == [40, 41, [42, 40], [43, 41]]

    def test_a_goal_is_encoded_at_the_first_plan_and_no_more(self) -> None:
        model, planner = box(), Told([0.0])
        controller = Controller(model, np.stack([BLACK, BLACK + 255]), Search(planner, 2))
        seen = np.stack([BLACK, BLACK])
        controller.act(seen)
        controller.reset(np.array([False, True]))
        with patch.object(model, "encode", wraps=model.encode) as encode:
            controller.act(seen)
        assert encode.call_count == 1
        first, second = planner.costs[0]
        again = planner.costs[1].item()
        # In bfloat16 two environments at once differ by rounding from one alone.
        assert abs(again - second) < 0.5 * abs(second - first)

    @pytest.mark.parametrize("change", ["a step of training", "loaded"])
    def test_a_goal_is_encoded_again_where_the_weights_are_others(self, change: str) -> None:
        model, other = box(), box()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.mul_(1.5)
        planner, goal = Told([0.0]), BLACK + 255
        controller = Controller(model, goal, Search(planner, 2))
        controller.act(BLACK)
        if change == "loaded":
            model.load_state_dict(other.state_dict())
        else:
            optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
            for parameter in model.parameters():
                parameter.grad = -parameter.detach().clone()
            optimiser.step()
        controller.reset()
        controller.act(BLACK)
        fresh = Told([0.0])
        Controller(other, goal, Search(fresh, 2)).act(BLACK)
        torch.testing.assert_close(planner.costs[1], fresh.costs[0])
        assert abs(planner.costs[1] - planner.costs[0]) > 1e-3

    def test_a_new_goal_counts_from_the_next_plan_on(self) -> None:
        planner = Told([0.0])
        controller = Controller(box(), BLACK, Search(planner, 2))
        controller.act(BLACK)
        controller.goal = BLACK + 255
        controller.reset()
        controller.act(BLACK)
        assert planner.costs[0] != planner.costs[1]


def test_what_is_expected_is_what_the_last_plan_imagined_for_the_end_of_the_block() -> None:
    model, random = box(head=True), np.random.default_rng(0)
    head = model.heads["looks"]
    frames = random.integers(0, 256, (3, 11, 3, SIZE, SIZE), dtype=np.uint8)
    states = np.zeros((3, 11, 2), np.float32)
    expected = Expected(Controller(model, BLACK, Search(CEM(8, 2, 1), 3, replan=2)))

    def shown(latents: Tensor) -> np.ndarray:
        told = torch.nn.functional.interpolate(head(latents), (SIZE, SIZE), mode="bilinear", antialias=True)
        return told.mul(255).round().byte().numpy()

    plans = []
    for step in range(8):
        expected.act(frames[:, step], np.ones(3, dtype=bool))
        plans.append(expected.controller.plan.actions)  # type: ignore[union-attr]
    drawn = expected.pictures(frames[:2], states)
    assert drawn is not None and drawn.shape == (2, 11, 3, SIZE, SIZE)
    with torch.no_grad():
        np.testing.assert_array_equal(
            drawn[:, 0], shown(model.latents_of(Observation(torch.from_numpy(frames[:2, 0]))))
        )
        for step in range(8):
            made = step - step % 4
            blocks = plans[made][:2].repeat(1, 1, 2)
            imagined = model.imagine(torch.from_numpy(frames[:2, made]), blocks).latents[:, step % 4 // 2]
            np.testing.assert_array_equal(drawn[:, step + 1], shown(imagined))
    assert len({drawn[:, step].tobytes() for step in range(11)}) == 5
    assert (drawn[:, 8:] == drawn[:, 8:9]).all()
    assert expected.pictures(frames[:0], states).shape == (0, 11, 3, SIZE, SIZE)  # type: ignore[union-attr]
    plain = Expected(Controller(box(), BLACK, Search(CEM(8, 2, 1), 3)))
    plain.act(frames[:, 0], np.ones(3, dtype=bool))
    assert plain.pictures(frames[:2], states) is None


def test_without_a_head_recorded_frames_that_are_nearest_are_shown(tmp_path: Path) -> None:
    collect(str(tmp_path), episodes=6, steps=8, size=SIZE, factors={"agent_color": "sample"}, held_out=0.4)
    shards, model = EpisodeShards(str(tmp_path), "train"), box(skip=3)
    frames = torch.from_numpy(np.concatenate([shards[number].frames[::3] for number in range(len(shards))]))
    album = Album(model, str(tmp_path))
    with torch.no_grad():
        latents = model.latents_of(Observation(frames))
        asked = latents + 1e-4 * torch.randn_like(latents)
    assert len(frames) >= 9 and torch.equal(album(asked).mul(255).round().byte(), frames)
    # As a batch of futures (E, K, N, D).
    assert torch.equal(album(asked[:6].unflatten(0, (2, 3))).flatten(0, 1).mul(255).round().byte(), frames[:6])
    expected = Expected(Controller(model, BLACK, Search(CEM(8, 2, 1), 2)), album)
    for step in range(4):
        expected.act(frames[None, step].numpy(), np.ones(1, dtype=bool))
    seen = frames[None, :5].numpy()
    shown = expected.pictures(seen, np.zeros((1, 5, 2), np.float32))
    assert shown is not None and expected.by == "nearest" and (shown[:, 0] == seen[:, 0]).all()
    known = {frame.numpy().tobytes() for frame in frames}
    assert {shown[0, step].tobytes() for step in range(5)} <= known
    assert Expected(Controller(box(head=True), BLACK), album).by == "head" and Album.of(model, None) is None


def test_films_hold_what_was_imagined_in_every_batch() -> None:
    model, search, goals = box(head=True), Search(CEM(8, 2, 1), 3), RoomGoals.sample(4, {}, seed=0)
    apart, together = (
        Match(goals, SIZE, steps=5, parallel=parallel).planned(
            "cem", lambda goal, world: Controller(model, goal, search), films=3
        )
        for parallel in (2, None)
    )
    assert len(apart.imagined) == len(together.imagined) == 3
    assert apart.imagined[0].shape == apart.outcome.frames[0].shape
    for one, other in zip(apart.imagined, together.imagined, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 4


@pytest.mark.parametrize("space", [spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(4)], ids=str)
def test_one_choice_a_step_is_not_searched_for_where_there_are_several(space: spaces.Space) -> None:
    class World(gymnasium.Env):
        action_space = space

    model, search = small([0.0] * 4, [1.0] * 4), Search(CategoricalCEM(8, 2, 1))
    with pytest.raises(UserError, match="CategoricalCEM, which makes one choice a step"):
        Controller(model, BLACK, search, env=World())
    for planner in (Told([0.3]), Hybrid()):
        with pytest.raises(UserError, match=rf"{type(planner).__name__}, which .* Multi.*; expected .*\.Amortised"):
            Controller(model, BLACK, Search(planner, 2), env=World())
    # What is proposed without a search is not chosen for what it was judged to cost.
    Controller(model, BLACK, Search(Amortised()), env=World())
    World.action_space = spaces.Discrete(4)
    Controller(model, BLACK, search, env=World())


def test_numbers_are_not_searched_for_where_one_choice_is_made() -> None:
    class World(gymnasium.Env):
        action_space = spaces.Discrete(4)

    model = small([0.0] * 4, [1.0] * 4)
    for planner in (CEM(8, 2, 1), Hybrid(CEM(8, 2, 1))):
        with pytest.raises(UserError, match=r"judges what lies between.*Discrete\(4\).*planning\.CategoricalCEM"):
            Controller(model, BLACK, Search(planner, 2), env=World())
    Controller(model, BLACK, Search(Hybrid(CategoricalCEM(8, 2, 1))), env=World())
    assert isinstance(Controller(model, BLACK, env=World()).search.planner, CategoricalCEM)
    World.action_space = spaces.Box(-1, 1, (4,))
    assert isinstance(Controller(model, BLACK, env=World()).search.planner, CEM)


def test_a_model_in_bfloat16_acts_as_in_float32() -> None:
    """Its bounds are rounded; what is done lies within the environment's."""
    model, world = small([-0.3, -1.0], [0.3, 1.0]), gymnasium.make(TWO_ROOMS, size=SIZE)
    world.action_space = spaces.Box(np.float32([-0.3, -1]), np.float32([0.3, 1]))  # type: ignore[arg-type]
    acted = []
    for each in (model, model.bfloat16()):
        controller = Controller(each, BLACK, Search(Told([0.29, 0.5]), 2), env=world)
        acted.append(controller.act(BLACK + 90))
        assert acted[-1].dtype == np.float32 and acted[-1] in world.action_space
    np.testing.assert_allclose(acted[0], acted[1], atol=2e-3)
    assert Controller(model, BLACK, Search(CEM(8, 2, 1), 2), env=world).act(BLACK + 90) in world.action_space
