"""A run begins with another one's end."""

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from jepa_wm.data.transforms import MultiCrop
from jepa_wm.encoders import ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import GramAnchor, PrototypeOptions, SelfDistillation
from jepa_wm.optim import adamw
from jepa_wm.schedules import Constant
from pretrain.callbacks.start_from import StartFrom, load_moments
from pretrain.cli import main
from pretrain.module import Training

pytestmark = pytest.mark.filterwarnings("default::UserWarning")


def train(recipe: Path, run: Path, *options: str) -> Path:
    main([f"--config={recipe}", f"--run={run}", *options])
    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.rglob("model.safetensors"))
    return {f"{file.parent.name}.{key}": value for file in files for key, value in load_file(file).items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys() and one
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def ended(recipes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipes["pretrain"], tmp_path_factory.mktemp("runs") / "first")


def test_weights_teachers_predictors_and_moments_go_on_under_another_schedule(
    ended: Path, recipes: dict[str, Path], tmp_path: Path
) -> None:
    schedule = "--model.lr={class_path: jepa_wm.schedules.Linear, init_args: {start: 1.0e-4, end: 0.0}}"
    options = (f"--start_from={ended}", schedule, "--trainer.max_steps=4", "--data.frames=2")
    run = train(recipes["pretrain"], tmp_path / "second", *options)
    assert same(weights(run / "checkpoints" / "step-000000"), weights(ended / "model"))
    assert not same(weights(run / "model"), weights(ended / "model"))
    before, after = (torch.load(folder / "final.ckpt", weights_only=True) for folder in (ended, run))
    assert after["global_step"] == 4
    steps = [{float(one["step"]) for one in each["optimizer_states"][0]["state"].values()} for each in (before, after)]
    # Moments count their steps: six, and four more.
    assert steps == [{6.0}, {10.0}]


def test_an_interrupted_run_goes_on_from_where_it_was_and_not_from_where_it_began(
    ended: Path, recipes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train(recipes["pretrain"], tmp_path / "straight", f"--start_from={ended}")
    step = Training.training_step

    def interrupted(self: Training, batch: dict, batch_idx: int) -> torch.Tensor:
        if self.global_step == 4:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    options = (f"--start_from={ended}", "--resume.steps=2")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "training_step", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(recipes["pretrain"], tmp_path / "run", *options)
    assert same(weights(train(recipes["pretrain"], tmp_path / "run", *options) / "model"), weights(straight / "model"))


def test_a_run_without_an_end_and_another_model_are_refused(
    ended: Path, recipes: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"final\.ckpt does not exist"):
        train(recipes["pretrain"], tmp_path / "run", f"--start_from={tmp_path / 'empty'}")
    wider = "--model.encoder.init_args.dim=48"
    with pytest.raises(UserError, match=r"of another model: .* use the same encoder and objectives"):
        train(recipes["pretrain"], tmp_path / "run", f"--start_from={ended}", wider)
    assert not (tmp_path / "run").exists()


def test_moments_find_their_parameters_by_name_in_other_groups() -> None:
    module = nn.Module()
    module.embed, module.blocks = nn.Linear(2, 3), nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    old = adamw(module, 1e-3, 0.1, (0.9, 0.95))
    for number, parameter in enumerate(module.parameters()):
        parameter.grad = torch.full_like(parameter, number + 1.0)
    old.step()
    new = adamw(module, 2e-3, 0.2, (0.8, 0.9), layer_decay=0.5)
    module.late = nn.Linear(3, 1)
    newer = adamw(module, 2e-3, 0.2, (0.8, 0.9), layer_decay=0.5)
    for optimizer in (new, newer):
        load_moments(optimizer, old.state_dict())
        assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.9)}
        assert len({group["lr"] for group in optimizer.param_groups}) > 1
        for name, parameter in module.named_parameters():
            if name.startswith("late"):
                assert parameter not in optimizer.state
            else:
                assert torch.equal(optimizer.state[parameter]["exp_avg"], old.state[parameter]["exp_avg"])


def test_a_run_that_took_an_anchor_is_one_that_another_may_begin_with(tmp_path: Path) -> None:
    def made() -> Training:
        torch.manual_seed(0)
        dino = partial(SelfDistillation, transform=MultiCrop(16, 8, 1), heads=PrototypeOptions(16, 16, 8))
        return Training(ViT(8, dim=32, depth=1, heads=2), {"dino": partial(dino, gram=GramAnchor(Constant(1.0)))})

    first, second = made(), made()
    first.each()[0]({"views": torch.randint(0, 256, (2, 2, 3, 16, 16), dtype=torch.uint8), "step": 0, "progress": 0.9})
    optimizer = adamw(first, 1e-3, 0.0, (0.9, 0.95))
    state = {"state_dict": first.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    torch.save(state, tmp_path / "final.ckpt")

    class Trainer:
        optimizers = (adamw(second, 1e-3, 0.0, (0.9, 0.95)),)

    StartFrom(str(tmp_path)).on_fit_start(Trainer(), second)  # type: ignore[arg-type]
    assert second.each()[0].anchored == first.each()[0].anchored is not None
