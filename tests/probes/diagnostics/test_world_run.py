"""`jepa-wm probe world` on a tiny model: what is written, what is left out, what is refused."""

import copy
import json
from pathlib import Path

import pytest
import torch

from jepa_wm.cli import main
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest
from jepa_wm.standard import Standard
from jepa_wm.world_model import WorldModel
from probes.diagnostics.controls import seen, untrained, untrained_dynamics, views
from probes.diagnostics.held import mean_actions, read_held
from probes.diagnostics.rows import mean, ratio
from probes.diagnostics.run import diagnose, expectation, plans

HORIZON = 4


@pytest.fixture(scope="module")
def diagnosed(collection: Path, world_model: WorldModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    world_model.save_pretrained(folder / "model")
    given = {"model": folder / "model", "data": collection, "out": folder / "out", "episodes": 5, "horizon": HORIZON}
    assert main(["probe", "world", *(f"--{name}={value}" for name, value in given.items())]) == 0
    return folder


def test_every_question_is_answered_beside_controls(diagnosed: Path) -> None:
    found = json.loads((diagnosed / "out" / "diagnostics.json").read_text())
    assert found["left_out"] == {} and read_manifest(diagnosed / "out", "probe world")["config"]["horizon"] == HORIZON
    controls: dict[str, set[str]] = {}
    for row in found["rows"]:
        assert set(row) == {"metric", "control", "step", "value", "null", "interval", "n"}
        assert row["interval"][0] <= row["interval"][1] and row["n"] in (5, 20, 25)
        controls.setdefault(row["metric"].rpartition("_")[0] or row["metric"], set()).add(row["control"])
    metrics = {row["metric"] for row in found["rows"]}
    assert {"rankme", "straightness", "drift_over_still", "hits_at_1", "shuffled_error", "action_share"} <= metrics
    assert {"inverse_dynamics_r2", "distance_spearman", "steps_auc", "plan_spearman_latent"} <= metrics
    assert {f"voe_{kind}_max_accuracy" for kind in ("teleport", "vanish", "recolour", "crossing")} <= metrics
    assert all("model" in names and len(names) > 1 for names in controls.values())
    # A predictor that was never trained expects that nothing changes.
    values = {(row["metric"], row["control"], row["step"]): row["value"] for row in found["rows"]}
    assert values["drift_over_still", "untrained_dynamics", 3] == pytest.approx(1)
    assert values["shuffled_error", "untrained_dynamics", 3] == 0
    assert values["inverse_dynamics_r2", "state", None] > 0.5 > values["inverse_dynamics_r2", "model", None]
    assert values["distance_spearman", "state", None] > 0.95


def test_collapse_is_told_by_what_can_be_asked_of_it(collection: Path, world_model: WorldModel, tmp_path: Path) -> None:
    collapsed = copy.deepcopy(world_model)
    for parameter in collapsed.encoder.parameters():
        torch.nn.init.zeros_(parameter)
    collapsed.save_pretrained(tmp_path / "model")
    diagnose(str(tmp_path / "model"), str(collection), str(tmp_path / "out"), 4, 2)
    found = json.loads((tmp_path / "out" / "diagnostics.json").read_text())
    assert set(found["left_out"]) == {"decay of the spectrum", "sphere", "straightness"}
    told = {row["metric"]: row for row in found["rows"] if row["control"] == "model"}
    assert (
        told["rankme"]["value"] == pytest.approx(1, abs=1e-3)
        and told["effective_rank"]["value"] == 0 < told["effective_rank"]["null"]
    )
    assert told["distance_spearman"]["value"] == 0 and told["distance_auc"]["value"] == 0.5


def test_a_finished_run_is_left_as_it_is(diagnosed: Path, collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (diagnosed / "out" / "diagnostics.json").stat().st_mtime_ns
    given = {"model": diagnosed / "model", "data": collection, "out": diagnosed / "out", "episodes": 5, "horizon": 4}
    assert main(["probe", "world", *(f"--{name}={value}" for name, value in given.items())]) == 0
    assert "complete already" in capsys.readouterr().out
    assert main(["probe", "world", "--seed=1", *(f"--{name}={value}" for name, value in given.items())]) == 2
    assert "made with other settings: seed=0; got seed=1" in capsys.readouterr().err
    assert (diagnosed / "out" / "diagnostics.json").stat().st_mtime_ns == before


def test_numbers_and_horizons_out_of_range_are_refused(
    diagnosed: Path, collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"--model={diagnosed / 'model'}", f"--data={collection}", f"--out={tmp_path / 'out'}"]
    assert main(["probe", "world", *given, "--episodes=2"]) == 2
    assert "got episodes 2" in capsys.readouterr().err
    assert main(["probe", "world", *given, "--horizon=9"]) == 2
    assert "shorter than 46 frames" in capsys.readouterr().err


def test_what_needs_a_world_of_ours_is_left_out_of_others(collection: Path, world_model: WorldModel) -> None:
    held = read_held(str(collection), world_model, 5, HORIZON)
    elsewhere = held._replace(environment="CarRacing-v3", factors={})
    assert held.rooms is not None and elsewhere.rooms is None
    for ask in (plans, expectation):
        with pytest.raises(UserError, match="got episodes of CarRacing-v3; expected jepa_wm/TwoRooms"):
            ask(world_model, elsewhere, 0)


def test_untrained_parts_are_new_and_the_others_are_the_same(world_model: WorldModel) -> None:
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    state = torch.zeros(3, 2)
    own, fresh, again = (
        model.encode(pixels[:, None]) for model in (world_model, untrained(world_model), untrained(world_model))
    )
    assert not torch.allclose(own, fresh) and torch.equal(fresh, again)
    assert torch.equal(untrained_dynamics(world_model).encode(pixels[:, None]), own)
    assert views(world_model)["pixels"](pixels, state).shape == (3, 3 * 32 * 32)


def test_untrained_parts_have_the_units_that_were_measured(world_model: WorldModel) -> None:
    model = copy.deepcopy(world_model)
    units = [part for part in model.modules() if isinstance(part, Standard)]
    assert units
    for part in units:
        part.std.fill_(7.0)
    for made in (untrained(model), untrained_dynamics(model)):
        found = [part.std for part in made.modules() if isinstance(part, Standard)]
        assert len(found) == len(units) and all((std == 7).all() for std in found)


def test_a_film_is_viewed_frame_by_frame(collection: Path, world_model: WorldModel) -> None:
    film = read_held(str(collection), world_model, 4, 2).film
    z = seen(views(world_model)["model"], film)
    torch.testing.assert_close(z, world_model.encode(film.pixels).flatten(2), atol=1e-5, rtol=1e-4)
    steps = film.actions.view(4, 2, -1, 2)
    torch.testing.assert_close(mean_actions(film, world_model), sum(steps.unbind(2)) / steps.shape[2])


def test_ratios_and_their_intervals() -> None:
    generator = torch.Generator().manual_seed(0)
    below = 1 + torch.rand(400, generator=generator, dtype=torch.float64)
    above = 3 * below + torch.randn(400, generator=generator, dtype=torch.float64)
    found = ratio(above, below, 1.0)
    assert found.value == pytest.approx((above.sum() / below.sum()).item()) and found.n == 400
    half = 1.96 / (20 * below.mean().item())
    assert found.interval == pytest.approx((found.value - half, found.value + half), abs=0.2 * half)
    assert mean(above, 0.0).value == pytest.approx(above.mean().item())
    assert ratio(above, torch.zeros(400), 1.0)[:3] == (0.0, 1.0, (0.0, 0.0))
