"""What a step of training, a validation and a health check compute, held against a computation by hand."""

import json
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from jepa_wm.checkpoint import save_modules
from jepa_wm.data import Shards
from jepa_wm.data.transforms import MultiCrop
from jepa_wm.dynamics import TransformerDynamics
from jepa_wm.dynamics.heads import StateHead
from jepa_wm.encoders import ClipText, MeanPool, ProjectedPool, TextAlignment, ViT, load_encoder
from jepa_wm.errors import UserError
from jepa_wm.objectives import (
    ContrastiveText,
    Forecasting,
    LeJEPA,
    MaskedLatentPrediction,
    PredictorOptions,
    Reading,
)
from jepa_wm.objectives.terms import HeadTerm
from jepa_wm.schedules import Constant, Linear, WarmupConstantCooldown
from pretrain.callbacks.health import Alarm, Health
from pretrain.callbacks.resumable import Resumable
from pretrain.data import ClipDataModule
from pretrain.module import Training

Fit = Callable[..., ClipDataModule]
Masked = partial(MaskedLatentPrediction, predictor=PredictorOptions(12, 1, 2))


def records(folder: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def test_validation_is_the_weighted_sum_in_eval_mode(fit: Fit, vit: Any, dropped: Any, tmp_path: Path) -> None:
    objectives: dict[str, Any] = {
        "masked": Masked,
        "text": partial(ContrastiveText, text=TextAlignment(6, ClipText(8, 16, 1, 2))),
        "dropped": dropped,
    }
    weights = {"text": 0.25, "dropped": 3.0}
    training = Training(vit(), objectives, weights, lr=1e-2)
    batches = list(fit(training, tmp_path).val_dataloader())[:2]
    training.eval()
    total, size = 0.0, 0
    with torch.no_grad():
        for number, batch in enumerate(batches):
            terms = {name: part({**batch, "step": number})["loss"] for name, part in training.objectives.items()}
            total += len(batch["pixels"]) * float(terms["masked"] + 0.25 * terms["text"] + 3.0 * terms["dropped"])
            size += len(batch["pixels"])
    first, last = records(tmp_path, "val/loss")
    assert last == pytest.approx(total / size, rel=1e-5) and first != pytest.approx(last, rel=1e-4)


def test_objectives_learn_the_step_and_follow_each_step_once(fit: Fit, vit: Any, dropped: Any, tmp_path: Path) -> None:
    training = Training(vit(), {"dropped": dropped})
    fit(training, tmp_path)
    watched: Any = training.objectives["dropped"]
    first = watched.calls[0][1]
    train, val = [(True, first + i) for i in range(4)], [(False, i) for i in range(2)]
    assert watched.calls == train[:2] + val + train[2:] + val
    assert watched.progress == [0, 0.25, 0.5, 0.75]


def test_the_teacher_is_the_moving_average_of_the_encoder_after_each_step(fit: Fit, vit: Any, tmp_path: Path) -> None:
    class Follow(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
            seen.append(encoder.embed.weight.detach().clone())

    encoder = vit()
    seen: list[Tensor] = [encoder.embed.weight.detach().clone()]
    training = Training(encoder, {"masked": partial(Masked, decay=Linear(0.9, 0.5))}, lr=1e-2)
    fit(training, tmp_path, Follow())
    expected = seen[0]
    for decay, weight in zip((0.9, 0.8, 0.7, 0.6), seen[1:], strict=True):
        expected = decay * expected + (1 - decay) * weight
    masked: Any = training.objectives["masked"]
    torch.testing.assert_close(masked.teacher.embed.weight, expected)
    assert not torch.allclose(expected, seen[-1]) and not torch.allclose(expected, seen[0])


@pytest.mark.parametrize("constant", [True, False])
def test_constant_latents_are_called_a_collapse_after_half_of_the_steps(
    fit: Fit, vit: Any, dropped: Any, shards: Path, tmp_path: Path, constant: bool
) -> None:
    encoder = vit()
    with torch.no_grad():
        if constant:
            encoder.pool.neck[-1].weight.zero_()
        else:
            # Latents of an untrained encoder share a large mean; without it they fill their dimensions.
            encoder.pool.neck[-1].weight.mul_(0.0).add_(torch.randn_like(encoder.pool.neck[-1].weight))
    # At a rate of zero nothing moves: what is measured is the encoder above.
    training = Training(encoder, {"dropped": dropped}, lr=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(training, tmp_path, Health(Shards(shards, "val"), alarm=Alarm(rankme=1.0001, spread=0.0)))
    said = [str(warning.message) for warning in caught if "collapse" in str(warning.message)]
    assert len(said) == constant and all("at step 4" in message for message in said)
    assert (records(tmp_path, "health/rankme")[-1] == pytest.approx(1, abs=1e-4)) == constant
    assert (records(tmp_path, "health/spread_max")[-1] < 1e-6) == constant
    # A probe of latents that do not vary would be a probe of rounding errors.
    assert bool(records(tmp_path, "health/position_r2")) != constant


@pytest.mark.parametrize("who", ["encoder", "teacher"])
def test_an_encoder_or_a_teacher_that_collapses_alone_is_noticed(
    fit: Fit, vit: Any, shards: Path, tmp_path: Path, who: str
) -> None:
    torch.manual_seed(0)
    training = Training(vit(), {"masked": partial(Masked, decay=Constant(1.0))}, lr=0.0)
    masked: Any = training.objectives["masked"]
    for name, encoder in (("encoder", training.encoder), ("teacher", masked.teacher)):
        weight = encoder.pool.neck[-1].weight  # type: ignore[union-attr]
        with torch.no_grad():
            weight.mul_(0.0).add_(0.0 if name == who else torch.randn_like(weight))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(training, tmp_path, Health(Shards(shards, "val"), alarm=Alarm(rankme=1.0001, spread=0.0)))
    (said,) = {str(warning.message) for warning in caught if "collapse" in str(warning.message)}
    assert f"RankMe of the {who}'s held-out latents" in said
    ranks = [records(tmp_path, f"health/{prefix}rankme")[-1] for prefix in ("", "teacher_")]
    assert (ranks[0] < 1.001, ranks[1] < 1.001) == (who == "encoder", who == "teacher")


@pytest.mark.parametrize("constant", [True, False])
def test_rates_follow_their_schedules(fit: Fit, vit: Any, dropped: Any, tmp_path: Path, constant: bool) -> None:
    seen: list[tuple[float, float, float]] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
            groups = trainer.optimizers[0].param_groups
            decays = {group["weight_decay"] for group in groups if not group["decays"]}
            seen.append((groups[0]["lr"], max(group["weight_decay"] for group in groups), *decays))

    if constant:
        training = Training(vit(), {"dropped": dropped}, lr=0.1, weight_decay=0.3, warmup=0.5)
        # Half a warm-up, its top, and half a cosine down to nothing.
        expected = [(0.05, 0.3, 0.0), (0.1, 0.3, 0.0), (0.05, 0.3, 0.0), (0.0, 0.3, 0.0)]
    else:
        lr, decay = WarmupConstantCooldown(1.0, 0.5, 0.25, final=0.1), Linear(0.0, 0.4)
        training = Training(vit(), {"dropped": dropped}, lr=lr, weight_decay=decay)
        expected = [(0.5, 0.1, 0.0), (1.0, 0.2, 0.0), (1.0, 0.3, 0.0), (0.1, 0.4, 0.0)]
    fit(training, tmp_path, Watch())
    for found, wanted in zip(seen, expected, strict=True):
        assert found == pytest.approx(wanted)
    assert records(tmp_path, "optimizer/lr") == pytest.approx([lr for lr, *_ in expected])


def test_the_encoder_has_its_share_of_the_rate_and_the_rest_all_of_it(fit: Fit, vit: Any, tmp_path: Path) -> None:
    seen: dict[str, float] = {}

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
            for group in trainer.optimizers[0].param_groups:
                seen.update(dict.fromkeys(group["param_names"], group["lr"]))

    training = Training(vit(), {"masked": Masked}, lr=Constant(0.1), layer_decay=0.5, encoder_lr_scale=0.2)
    fit(training, tmp_path, Watch())
    own = {name: lr for name, lr in seen.items() if name.startswith("encoder.")}
    last = len(training.encoder.blocks) - 1
    assert own["encoder.norm.weight"] == pytest.approx(0.02)
    assert own[f"encoder.blocks.{last}.mlp.fc1.weight"] == pytest.approx(0.01)
    assert {lr for name, lr in seen.items() if name not in own} == {0.1}


class Gradients(L.Callback):
    """Keep the first optimiser step's gradient, before it is clipped."""

    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        if not self.found:
            self.found = {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}


def test_two_half_batches_give_the_gradient_of_the_whole(fit: Fit, vit: Any, dropped: Any, tmp_path: Path) -> None:
    whole, halves = Gradients(), Gradients()
    plain = partial(dropped, share=0.0)
    fit(Training(vit(), {"plain": plain}), tmp_path / "whole", whole, batch_size=8)
    fit(Training(vit(), {"plain": plain}), tmp_path / "halves", halves, batch_size=4, accumulate=2)
    assert whole.found.keys() == halves.found.keys() and whole.found
    for name, gradient in whole.found.items():
        torch.testing.assert_close(halves.found[name], gradient)
    total = torch.stack([gradient.square().sum() for gradient in whole.found.values()]).sum().sqrt()
    assert records(tmp_path / "whole", "optimizer/gradient_norm")[0] == pytest.approx(float(total), rel=1e-5)


def test_batches_that_are_accumulated_differ_and_teachers_follow_steps(
    fit: Fit, vit: Any, dropped: Any, tmp_path: Path
) -> None:
    training = Training(vit(), {"dropped": dropped})
    # An epoch has five batches of four, so every third step is made of one.
    fit(training, tmp_path, batch_size=4, accumulate=2)
    watched: Any = training.objectives["dropped"]
    steps = [step for training_mode, step in watched.calls if training_mode]
    assert len(set(steps)) == len(steps) and steps == sorted(steps) and steps[3] == steps[0] + 3
    assert watched.progress == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_dropout_too_is_a_function_of_the_step(
    fit: Fit, vit: Any, dropped: Any, tmp_path: Path, accumulate: int
) -> None:
    def train(folder: Path, *callbacks: L.Callback, resume: Path | None = None) -> Tensor:
        torch.manual_seed(3)
        training = Training(vit(), {"dropped": dropped}, lr=1e-2)
        options = {"batch_size": 4, "accumulate": accumulate, "steps": 7}
        fit(training, folder, *callbacks, resume=resume, **options)
        return torch.cat([parameter.detach().flatten() for parameter in training.parameters()])

    class Copy(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step == 5:
                shutil.copy(tmp_path / "resume.ckpt", tmp_path / "five.ckpt")

    straight = train(tmp_path / "one", Copy(), Resumable(tmp_path, steps=1))
    assert torch.equal(train(tmp_path / "two", resume=tmp_path / "five.ckpt"), straight)


def test_every_stack_of_blocks_is_compiled_and_keeps_its_names(vit: Any) -> None:
    objectives: dict[str, Any] = {"masked": Masked}
    plain, compiled = Training(vit(), objectives), Training(vit(), objectives, compile=True)
    assert list(plain.state_dict()) == list(compiled.state_dict())
    masked: Any = compiled.objectives["masked"]
    for stack in (compiled.encoder.blocks, masked.teacher.blocks, masked.predictor.blocks):  # type: ignore[union-attr]
        assert all(block._compiled_call_impl is not None for block in stack)  # type: ignore[union-attr]
    assert all(getattr(part, "_compiled_call_impl", None) is None for part in plain.modules())


# The compiler looks at gradients that are not there, and warns of it.
@pytest.mark.filterwarnings("ignore")
def test_compiled_blocks_learn_the_same(fit: Fit, vit: Any, dropped: Any, tmp_path: Path) -> None:
    if shutil.which("g++") is None and shutil.which("c++") is None:
        pytest.skip("compiling for a CPU needs a C++ compiler")
    plain, compiled = (Training(vit(), {"plain": partial(dropped, share=0.0)}, compile=c) for c in (False, True))
    for name, training in (("plain", plain), ("compiled", compiled)):
        fit(training, tmp_path / name, steps=1)
    assert records(tmp_path / "compiled", "train/loss") == pytest.approx(records(tmp_path / "plain", "train/loss"))
    weights = [training.encoder.embed.weight for training in (plain, compiled)]
    torch.testing.assert_close(*weights)  # type: ignore[arg-type]
    save_modules(tmp_path / "model", compiled.exported())
    assert torch.equal(load_encoder(str(tmp_path), "encoder").embed.weight, weights[1])  # type: ignore


def test_each_seed_has_masks_of_its_own(fit: Fit, vit: Any, dropped: Any, tmp_path: Path) -> None:
    firsts = []
    for seed in (1, 1, 2):
        training = Training(vit(), {"dropped": dropped})
        L.seed_everything(seed, verbose=False)
        fit(training, tmp_path)
        firsts.append(training.objectives["dropped"].calls[0])
    assert firsts[0] == firsts[1] != firsts[2]


def test_a_loaded_encoder_is_trained_in_training_mode(vit: Any, dropped: Any) -> None:
    training = Training(vit().eval(), {"dropped": dropped, "masked": Masked})
    teacher: Any = training.objectives["masked"].teacher
    assert training.encoder.training and not teacher.training and not teacher.blocks[0].training


def test_objectives_that_want_different_views_are_refused(fit: Fit, vit: Any, tmp_path: Path) -> None:
    views = [partial(LeJEPA, transform=MultiCrop(16, 8, count), hidden=8, slices=4) for count in (1, 2)]
    fit(Training(vit(), {"one": views[0], "other": views[0]}), tmp_path)
    with pytest.raises(UserError, match="got different transforms, MultiCrop"):
        fit(Training(vit(), dict(zip(("one", "other"), views, strict=True))), tmp_path)


def test_clipping_by_value_is_refused(fit: Fit, vit: Any, dropped: Any, shards: Path) -> None:
    trainer = L.Trainer(
        max_steps=1, accelerator="cpu", logger=False, gradient_clip_val=1.0, gradient_clip_algorithm="value",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(UserError, match="gradient_clip_algorithm: got value"):
        trainer.fit(Training(vit(), {"dropped": dropped}), datamodule=ClipDataModule(str(shards), 3, batch_size=8))


def test_what_one_objective_froze_the_others_leave_as_it_is() -> None:
    encoder = ViT(8, dim=32, depth=1, heads=2, pooling=ProjectedPool(16, 32, MeanPool()))
    forecast = partial(Forecasting, dynamics=TransformerDynamics(16, frame_skip=1), freeze_encoder=True)
    read = partial(Reading, terms={"state": HeadTerm(StateHead(16), "state")})
    training = Training(encoder, {"forecast": forecast, "read": read})
    assert not any(part.training for part in encoder.modules())
    assert training.train().objectives["read"].terms.training and not encoder.training
    training.eval()
    assert not training.objectives["read"].terms.training
