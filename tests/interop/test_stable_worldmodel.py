"""Models, searches and goals of stable-worldmodel, where it is installed: `pip install 'jepa_wm[swm]'`."""

import json
import warnings
from pathlib import Path

import pytest
import torch

from jepa_wm import load_world_model
from jepa_wm.control.collect import collect
from jepa_wm.control.goals import Task
from jepa_wm.control.plan import plan
from jepa_wm.control.results import read_episodes
from jepa_wm.data import EpisodeShards
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.interop.cost import SolverCost
from jepa_wm.interop.evaluate import RecordedEpisodes, WorldGoals, evaluate, scripted
from jepa_wm.interop.solver import PlannerSolver, expanded
from jepa_wm.interop.units import ActionUnits
from jepa_wm.planning import CEM
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("torchvision")  # before EGL is loaded
    swm = pytest.importorskip("stable_worldmodel")
pytestmark = pytest.mark.filterwarnings("default")

TWO_ROOM = "swm/TwoRoom-v1"
UNITS = ActionUnits([0.1, -0.2], [0.5, 0.4], [-1.0, -1.0], [1.0, 1.0])


def their_lewm() -> torch.nn.Module:
    """Small, with random weights of which none is nought."""
    from stable_pretraining.backbone.utils import vit_hf
    from stable_worldmodel.wm.lewm import LeWM
    from stable_worldmodel.wm.lewm.module import MLP, Embedder, Predictor

    torch.manual_seed(0)
    size = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
    encoder = vit_hf(size="tiny", patch_size=8, image_size=32, pretrained=False, use_mask_token=False, **size)
    predictor = Predictor(num_frames=3, depth=2, heads=2, dim_head=8, mlp_dim=32, input_dim=16, hidden_dim=16)
    norm = torch.nn.BatchNorm1d
    parts = (MLP(24, 32, 16, norm_fn=norm), MLP(16, 32, 16, norm_fn=norm))
    model = LeWM(encoder, predictor, Embedder(input_dim=10, emb_dim=16), *parts).eval()
    for weight in model.predictor.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """As their script transforms uint8 (…, H, W, 3)."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((pixels / 255 - mean) / std).movedim(-1, -3)


@torch.no_grad()
def test_their_lewm_costs_the_same_in_their_hands_and_in_ours(tmp_path: Path) -> None:
    theirs, draw = their_lewm(), torch.Generator().manual_seed(1)
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "config.json").write_text(
        json.dumps({"encoder": {"num_attention_heads": 3}, "predictor": {"heads": 2}})
    )
    statistics = {"action_mean": UNITS.mean.tolist(), "action_std": UNITS.std.tolist()}
    bounds = {"action_bounds": ([-1.0, -1.0], [1.0, 1.0])}
    ours = load_world_model(tmp_path / "weights.pt", action_dim=2, size=32, statistics=statistics | bounds)
    info = {
        name: torch.randint(0, 256, (2, 1, 32, 32, 3), dtype=torch.uint8, generator=draw) for name in ("pixels", "goal")
    }
    low, high = (bound.repeat(5) for bound in UNITS.bounds())
    candidates = torch.rand(2, 7, 5, 10, generator=draw) * (high - low) + low
    own = SolverCost(ours, UNITS).get_cost(expanded(info, 7), candidates)
    asked = {name: normalised(value) for name, value in info.items()} | {"action": torch.zeros(2, 1, 2)}
    # One environment at a time: of several it takes one another's goals, or stops.
    ones = [expanded({name: value[i : i + 1] for name, value in asked.items()}, 7) for i in range(2)]
    official = torch.cat([theirs.get_cost(one, candidates[i : i + 1]) for i, one in enumerate(ones)])
    assert official.std(dim=1).min() > 1e-3
    torch.testing.assert_close(own * 16, official, atol=1e-4, rtol=1e-4)  # they sum over D, here it is averaged


@pytest.fixture(scope="module")
def goals(tmp_path_factory: pytest.TempPathFactory) -> WorldGoals:
    folder = tmp_path_factory.mktemp("worlds") / "rooms"
    collect(str(folder), episodes=4, steps=40, size=32, environment=TWO_ROOM, held_out=0.5)
    return WorldGoals.draw(RecordedEpisodes(EpisodeShards(folder, "train"), TWO_ROOM), 3)


def test_recorded_goals_are_reached_by_the_recorded_actions_and_not_by_none(goals: WorldGoals) -> None:
    policies = scripted(goals)
    assert evaluate(policies["replay"], goals)["solved"] == [True] * 3
    assert evaluate(policies["noop"], goals)["solved"] == [False] * 3


def test_their_search_and_ours_drive_our_model_in_their_world(goals: WorldGoals) -> None:
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))
    model = WorldModel(encoder, TransformerDynamics(6, action_dim=2, frame_skip=5, trunk=Trunk(12, 1, 2))).eval()
    cost, units = SolverCost(model), ActionUnits.of(model)
    config = swm.PlanConfig(horizon=2, receding_horizon=2, action_block=5)
    for solver in (
        swm.solver.CEMSolver(model=cost, num_samples=8, n_steps=2, topk=2),
        PlannerSolver(cost, CEM(8, 2, 2), units),
    ):
        policy = swm.policy.WorldModelPolicy(solver, config, process={"action": units})
        assert evaluate(policy, goals, budget=12)["episodes"] == 3


def test_plan_counts_in_their_world_by_the_recorded_goals(tmp_path: Path) -> None:
    collect(str(tmp_path / "data"), episodes=8, steps=40, size=32, environment=TWO_ROOM, held_out=0.5)
    torch.manual_seed(0)
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))
    dynamics = TransformerDynamics(6, action_dim=2, frame_skip=5, trunk=Trunk(12, 1, 2))
    model = WorldModel(encoder, dynamics)
    # As of packed data, of which only a spread is known.
    model.bounds.low.fill_(-3)
    model.save_pretrained(tmp_path / "model")
    out, search = tmp_path / "plan", Search(CEM(8, 2, 1), 2, replan=2, hold=False)
    plan(str(tmp_path / "model"), str(tmp_path / "data"), str(out), search, 3, 0, 30, films=1, task=Task(25))
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert {row["policy"]: row["success"] for row in rows if row["policy"] in ("noop", "replay")} == {
        "noop": 0.0,
        "replay": 1.0,
    }
    assert rows[-1]["policy"] == "cem" and rows[-1]["seconds_per_plan"] > 0
    (film,) = json.loads((out / "films" / "index.json").read_text())
    assert (out / "films" / film["file"]).is_file()
    episodes = read_episodes(str(out))
    assert len(episodes) == 4 * 3 and len({row["episode"] for row in episodes}) == 3
