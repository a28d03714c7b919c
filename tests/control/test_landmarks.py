"""A graph of remembered latents: ways by hand, against brute force, on disk, and as goals of a planner."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jepa_wm.contracts import Future
from jepa_wm.control import Controller
from jepa_wm.control.collect import collect
from jepa_wm.control.landmarks import LEAST, Landmarks
from jepa_wm.control.route import Route
from jepa_wm.dynamics import Ensemble, TransformerDynamics, Trunk
from jepa_wm.encoders import ClipText, GridPool, TextAlignment, ViT
from jepa_wm.errors import UserError
from jepa_wm.goals import Image, Latents, Smoothness, Sum, Uncertainty
from jepa_wm.observations import Observation
from jepa_wm.planning import CEM
from jepa_wm.planning.costs import Distance
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

LAST = Distance(final=1.0)


def walk(*corners: tuple[float, float]) -> Tensor:
    """Points (n, 1, 2) one apart on the straight lines between corners."""
    legs = []
    for (x, y), (to_x, to_y) in pairwise(corners):
        count = round(abs(to_x - x) + abs(to_y - y))
        legs += [(x + (to_x - x) * i / count, y + (to_y - y) * i / count) for i in range(count)]
    return torch.tensor([*legs, corners[-1]])[:, None]


@pytest.fixture(scope="module")
def corridor() -> Landmarks:
    """A corridor like a U, 10 deep and 3 wide, walked in three episodes that overlap and both ways."""
    down, along, up = walk((0, 10), (0, 4)), walk((0, 6), (0, 0), (3, 0), (3, 3)), walk((3, 2), (3, 10))
    parts = [down, along, up, up.flip(0), along.flip(0), down.flip(0)]
    return Landmarks(torch.cat(parts), torch.arange(6).repeat_interleave(torch.tensor(list(map(len, parts)))), 4)


class TestWays:
    def test_they_go_round_where_the_straight_line_misleads(self, corridor: Landmarks) -> None:
        top_left, top_right = torch.tensor([[[0.0, 10.0]]]), torch.tensor([[[3.0, 10.0]]])
        end = corridor.latents[:, 0].eq(top_right[0]).all(dim=1).nonzero()[0]
        ways = corridor.ways_to(end)
        place, left = ways.ahead(top_left, 4)
        assert place.tolist() == [[[0.0, 6.0]]]
        # 23 blocks, and next to nothing for what changes episodes where both have a landmark.
        assert 23 <= left.item() < 23 + 10 * LEAST
        beyond, _ = ways.ahead(torch.tensor([[[0.0, 2.0]]]), 4)
        assert beyond.tolist() == [[[2.0, 0.0]]]

    def test_they_are_the_shortest_there_are(self) -> None:
        generator = torch.Generator().manual_seed(0)
        latents = torch.randn(40, 2, 3, generator=generator)
        marks = Landmarks(latents, torch.arange(40) // 5, 3, reach=0.6)
        ends = torch.tensor([7, 0, 31])
        ways = marks.ways_to(ends)
        for column, end in enumerate(ends.tolist()):
            assert ways.left[:, column].tolist() == pytest.approx(brute_force(latents, end), rel=1e-5)
        assert ways.left.isinf().any() and ways.left.isfinite().sum() > 70

    def test_steps_go_forward_only_and_those_of_an_episode_not_into_the_next(self) -> None:
        marks = Landmarks(torch.arange(6.0)[:, None, None] * 10, torch.tensor([0, 0, 0, 1, 1, 1]), 1, reach=0.5)
        left = marks.ways_to(torch.tensor([2, 3])).left
        assert left.T.tolist() == [[2, 1, 0] + 3 * [torch.inf], 3 * [torch.inf] + [0, torch.inf, torch.inf]]

    def test_landmarks_that_look_the_same_lead_to_each_other_and_nobody_goes_in_circles(self) -> None:
        latents = torch.cat([walk((0, 0), (3, 0)), torch.zeros(4, 1, 2), walk((3, 0), (6, 0))])
        marks = Landmarks(latents, torch.tensor([0] * 4 + [1] * 4 + [2] * 4), 7)
        itself = marks.nodes[:, 1:] == torch.arange(12)[:, None]
        assert not itself.any()
        place, left = marks.ways_to(torch.tensor([11])).ahead(torch.zeros(1, 1, 2), 100)
        assert 6 <= left.item() < 6 + 10 * LEAST and place[0, 0, 0] > 4

    def test_what_stays_in_an_episode_counts_more_whichever_way_it_points(self, tmp_path: Path) -> None:
        worlds = [0.0, 0.3, 0.6]
        latents = torch.tensor([[x, 0.0, world] for world in worlds for x in range(6)])[:, None]
        episodes, end = torch.arange(3).repeat_interleave(6), torch.tensor([17])
        turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
        for turned in (latents, latents @ turn):
            alike = Landmarks(turned, episodes, 2).ways_to(end).left[0].item()
            assert alike == pytest.approx(5 + 0.3 + 0.3, rel=1e-4)
            steady = Landmarks(turned, episodes, 2, reach=4.0, steady=10.0)
            assert steady.block == pytest.approx(1, rel=1e-4)
            steady.save(tmp_path / "steady")
            for marks in (steady, Landmarks.load(tmp_path / "steady")):
                away, _ = marks.nearest(turned[:1] + 0.6 * (turned[6:7] - turned[:1]), 1)
                assert away.item() == pytest.approx(0.4 * 0.3 * 10, rel=1e-3)
            apart = Landmarks(turned, episodes, 2, steady=10.0).ways_to(end).left
            assert apart[:12].isinf().all() and apart[12].item() == pytest.approx(5)
        with pytest.raises(UserError, match="got steady 0"):
            Landmarks(latents, episodes, 2, steady=0.5)

    def test_an_environment_alone_goes_as_it_does_among_others(self, corridor: Landmarks) -> None:
        seen, ends = corridor.latents[[0, 9, 20]] + 0.1, torch.tensor([20, 0, 5])
        ways = corridor.ways_to(ends)
        place, left = ways.ahead(seen, 3)
        for i in range(3):
            own = ways.of(torch.arange(3) == i).ahead(seen[i : i + 1], 3)
            assert torch.equal(own[0], place[i : i + 1]) and torch.equal(own[1], left[i : i + 1])

    def test_saved_and_loaded_alike(self, corridor: Landmarks, tmp_path: Path) -> None:
        corridor.save(tmp_path / "marks")
        again = Landmarks.load(tmp_path / "marks")
        ends = torch.tensor([3, 17])
        assert torch.equal(again.ways_to(ends).left, corridor.ways_to(ends).left) and again.block == corridor.block
        (tmp_path / "marks" / "landmarks.safetensors").write_bytes(b"nothing")
        with pytest.raises(UserError, match="holds no landmarks"):
            Landmarks.load(tmp_path / "marks")

    def test_too_little_to_make_a_graph_of_is_refused(self) -> None:
        with pytest.raises(UserError, match="got 4 latents with 4 neighbours"):
            Landmarks(torch.randn(4, 1, 2), torch.zeros(4, dtype=torch.long), 4)
        with pytest.raises(UserError, match="and 0 steps"):
            Landmarks(torch.randn(4, 1, 2), torch.arange(4), 2)
        with pytest.raises(UserError, match="change latents by 0"):
            Landmarks(torch.zeros(4, 1, 2), torch.zeros(4, dtype=torch.long), 2)
        with pytest.raises(UserError, match="some are no numbers"):
            Landmarks(torch.tensor([0, 1, 2, torch.nan])[:, None, None], torch.tensor([0, 0, 0, 1]), 2)

    def test_latents_of_another_model_are_refused(self, corridor: Landmarks) -> None:
        with pytest.raises(UserError, match=r"expected \(1, 2\): make landmarks with the model that plans"):
            corridor.ways_to(torch.tensor([0])).ahead(torch.zeros(1, 1, 3), 4)


def brute_force(latents: Tensor, end: int) -> list[float]:
    """Blocks to `end` by Floyd and Warshall, from what the graph is said to be: 3 neighbours within 0.6, 5 a walk."""
    count, flat = len(latents), latents.flatten(1).double()
    block = (flat[1:] - flat[:-1]).norm(dim=1)[[i for i in range(count - 1) if i % 5 != 4]].median()
    away = torch.cdist(flat, flat) / block
    ways = torch.full((count, count), torch.inf, dtype=torch.double)
    for i in range(count):
        alike = [j for j in away[i].argsort().tolist() if j != i][:3]
        for j in alike:
            if away[i, j] <= 0.6:
                ways[i, j] = away[i, j]
                if i == end:
                    ways[j, i] = min(ways[j, i], away[i, j])
        if i % 5 != 4:
            ways[i, i + 1] = min(ways[i, i + 1], torch.tensor(1.0))
        ways[i, i] = 0
    for k in range(count):
        ways = torch.minimum(ways, ways[:, k : k + 1] + ways[k : k + 1])
    return ways[:, end].tolist()


@pytest.fixture(scope="module")
def model() -> WorldModel:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=3, pooling=GridPool(6, 2))
    return WorldModel(
        encoder, TransformerDynamics(6, trunk=Trunk(12, 1, 2)), TextAlignment(6, ClipText(8, 16, 1, 2))
    ).eval()


class TestRoute:
    def test_the_goal_itself_is_planned_for_once_it_is_near_and_where_no_way_leads(
        self, corridor: Landmarks, model: WorldModel
    ) -> None:
        lonely = Landmarks(
            torch.cat([corridor.latents, torch.tensor([[[50.0, 50.0]], [[60.0, 60.0]]])]),
            torch.cat([corridor.episodes, torch.tensor([6, 6])]),
            4,
        )
        goal = torch.tensor([[[9.0, 9.0]], [[8.0, 8.0]], [[7.0, 7.0]]])
        ends = torch.tensor([0, 0, len(lonely.latents) - 1])
        route = Route(Latents(goal), lonely.ways_to(ends), ahead=4)
        seen = torch.tensor([[[0.0, 0.0]], [[0.0, 7.0]], [[0.0, 0.0]]])
        assert route.ways.ahead(seen, 4)[1].isinf().tolist() == [False, False, True]
        future = Future(torch.randn(3, 5, 2, 1, 2), torch.zeros(3, 5, 2, 2))
        found = Sum([route]).seen_from(seen).cost(model, 3, LAST)(future)
        twice = Sum([replace(route, weight=2.0)])
        torch.testing.assert_close(twice.seen_from(seen).cost(model, 3, LAST)(future), 2 * found)
        assert twice.of(torch.tensor([True, False, True])).goals[0].weight == 2.0
        wanted = torch.cat([torch.tensor([[[0.0, 4.0]]]), goal[1:]])
        torch.testing.assert_close(found, (future.latents[:, :, -1] - wanted[:, None]).square().mean(dim=(-2, -1)))
        only = torch.tensor([True, False, True])
        some = route.of(only).seen_from(seen[only]).cost(model, 2, LAST)
        torch.testing.assert_close(some(Future(future.latents[only], future.actions[only])), found[only])

    def test_it_ends_where_the_goal_costs_least(self, model: WorldModel, tmp_path: Path) -> None:
        collect(str(tmp_path / "shards"), episodes=9, steps=20, size=16, expert_fraction=0)
        marks = Landmarks.of_episodes(model, str(tmp_path / "shards"), most=31)
        assert len(marks.latents) == 30 and len(marks.episodes.unique()) == 6
        pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
        with torch.no_grad():
            nearest = (model.latents_of(Observation(pixels))[:, None] - marks.latents).square().mean(dim=(-2, -1))
            route = Route.to(pixels, model, marks, 2)
            assert torch.equal(route.ways.ends, nearest.argmin(dim=1))
            assert model.text
            alike = model.text.similarity(marks.latents, model.text.text(["the left room"]))
            assert Route.to("the left room", model, marks, 1).ways.ends.tolist() == [alike.argmax().item()]
        controller = Controller(model, route, Search(CEM(8, 2, 1), 2))
        assert controller.act(pixels.numpy(), torch.tensor([False, True]).numpy()).shape == (2, 2)

    def test_what_does_not_fit_is_refused(self, corridor: Landmarks, model: WorldModel) -> None:
        with pytest.raises(UserError, match="got ahead 0; expected more than 0"):
            Route(Latents(torch.zeros(1, 1, 2)), corridor.ways_to(torch.tensor([0])), 0)
        with pytest.raises(UserError, match="got 3 goals; expected 1 or 2"):
            Latents(torch.zeros(3, 1, 2)).cost(model, 2, LAST)
        picture = Image(Observation(torch.zeros(3, 3, 16, 16, dtype=torch.uint8)))
        with pytest.raises(UserError, match="got 3 goals; expected 1 or 2"):
            Route.to(picture, model, corridor, 2)
        route = Route(Latents(torch.zeros(1, 1, 2)), corridor.ways_to(torch.tensor([0, 3])))
        for count in (1, 3):
            with pytest.raises(UserError, match=f"ways for 2 environments; expected {count}"):
                route.seen_from(torch.zeros(count, 1, 2))
            with pytest.raises(UserError, match=f"ways for 2 environments; expected {count}"):
                route.of(torch.ones(count, dtype=torch.bool))

    def test_what_is_unsure_or_rough_on_the_way_does_not_move_its_end(self, model: WorldModel) -> None:
        many = WorldModel(model.encoder, Ensemble(TransformerDynamics(6, trunk=Trunk(12, 1, 2)), 2)).eval()
        marks = Landmarks(torch.randn(12, 1, 6), torch.zeros(12, dtype=torch.long), 4)
        goal = Latents(marks.latents[7:8], weight=3.0)
        route = Route.to(Sum([goal, Uncertainty(), Smoothness()]), many, marks, 2)
        assert route.ways.ends.tolist() == [7, 7] and Route.to(goal, many, marks, 1).weight == 3.0

    def test_what_was_done_last_is_told_to_what_is_planned_for_at_its_end(self, corridor: Landmarks) -> None:
        route, last = Route(Smoothness(), corridor.ways_to(torch.tensor([0]))), torch.ones(1, 2)
        told = route.after(last).goal
        assert isinstance(told, Smoothness) and told.last is last
