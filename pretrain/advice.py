"""What users get wrong: warnings read off a configuration, before anything is built."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from jepa_wm.precision import has_bf16
from pretrain.configuration import Config, accumulated, device_count, get, samples_of_a_step

TEACHERS = ("decay", "momentum", "ema")
"""Arguments of objectives that are the decay of a teacher."""

OF_THE_BATCH = ("SIGReg", "LeJEPA", "SelfDistillation", "Contrastive")
"""Parts of the names of objectives whose loss compares the samples of a batch."""


@dataclass(frozen=True)
class Recipe:
    """What a config's settings were found for.

    Args:
        batch: samples of an optimiser step, over all devices and accumulated batches.
        lr: peak learning rate for such a step.
    """

    batch: int
    lr: float


def advice(config: Config) -> list[str]:
    """Warnings of what is likely to be wrong with a configuration of training; most likely none.

    Args:
        config: as JSON values, all defaults filled in.
    """
    return [warning for check in CHECKS for warning in check(config)]


def _warmup(config: Config) -> Iterator[str]:
    steps = get(config, "trainer.max_steps", 1)
    for name in ("lr", "weight_decay"):
        schedule = get(config, f"model.{name}")
        share = get(schedule, "init_args.warmup") if isinstance(schedule, dict) else get(config, "model.warmup")
        if isinstance(schedule, int | float) and name != "lr":
            continue
        if share and 0 < share * steps < 1:
            yield (
                f"model.{name}: the warm-up is {share:g} of {steps} steps, less than one; "
                f"train for at least {math.ceil(1 / share)} steps, or warm up for longer"
            )


def _steps(config: Config) -> Iterator[str]:
    steps, batches = get(config, "trainer.max_steps", 1), accumulated(config)
    between = get(config, "trainer.val_check_interval")
    if isinstance(between, int) and between > steps * batches:
        yield (
            f"trainer.val_check_interval is {between} batches and training has {steps * batches}; nothing is ever "
            "validated, and no collapse is noticed"
        )
    if get(config, "snapshots", 0) > steps:
        yield f"snapshots is {config['snapshots']} and training has {steps} steps; there is one a step at most"


def _batch(config: Config) -> Iterator[str]:
    recipe, size = get(config, "recipe"), get(config, "data.batch_size")
    lr = _peak(get(config, "model.lr"))
    if not recipe or not size or lr is None:
        return
    devices, batch = device_count(config), samples_of_a_step(config)
    low, high = _rates(recipe, batch)
    if not low <= lr <= high:
        larger = batch / recipe["batch"]
        yield (
            f"a step has {batch} samples ({size} x {devices} devices x {accumulated(config)} accumulated) and the "
            f"recipe {recipe['batch']}, but model.lr is {lr:g}; the recipe's {recipe['lr']:g} scaled by the batch's "
            f"root is {recipe['lr'] * math.sqrt(larger):.3g}, in proportion to it {recipe['lr'] * larger:.3g}"
        )


def _rates(recipe: Config, batch: int) -> tuple[float, float]:
    """The lowest and highest rate that a recipe's is for a batch of half or twice this size, by either rule.

    By its root, for AdamW's steps do not grow with the gradient, so that noise is what a larger batch takes away; in
    proportion to it, as the authors of many recipes did.
    """
    sizes = [batch * factor / recipe["batch"] for factor in (0.5, 2.0)]
    rates = [recipe["lr"] * size**power for size in sizes for power in (0.5, 1.0)]
    return min(rates), max(rates)


def _precision(config: Config) -> Iterator[str]:
    precision = str(get(config, "trainer.precision") or "")
    asked = get(config, "trainer.accelerator", "auto")
    on_gpu = torch.cuda.is_available() and asked in ("auto", "gpu", "cuda")
    if precision.startswith("bf16") and not has_bf16("cuda" if on_gpu else "cpu"):
        yield (
            f"trainer.precision is {precision}, which this {'GPU' if on_gpu else 'processor'} only emulates, slower "
            "than float32; leave it null"
        )
    if precision.startswith("16"):
        yield f"trainer.precision is {precision}: its range is small and losses overflow; bf16-mixed has float32's"


def _teachers(config: Config) -> Iterator[str]:
    for name, arguments in _objectives(config):
        for argument in TEACHERS:
            if argument in arguments and _always_one(arguments[argument]):
                yield (
                    f"model.objectives.{name}: {argument} is 1 from beginning to end, so the teacher never leaves its "
                    "random start; begin below 1, as 0.996"
                )


def _accumulation(config: Config) -> Iterator[str]:
    if accumulated(config) == 1:
        return
    for name, objective in get(config, "model.objectives", {}).items():
        arguments = get(objective, "init_args", {})
        path = str(get(objective, "class_path", "")).rpartition(".")[2]
        if any(part in path for part in OF_THE_BATCH) or any(get(arguments, k) for k in ("sigreg", "koleo")):
            yield (
                f"model.objectives.{name} ({path}) compares the samples of a batch, and with "
                f"trainer.accumulate_grad_batches {accumulated(config)} those of each part alone: its batch is "
                f"{get(config, 'data.batch_size')} x {device_count(config)}, not the sum of the parts"
            )


def _frozen(config: Config) -> Iterator[str]:
    objectives = _objectives(config)
    if not objectives or not any(get(arguments, "freeze_encoder") for _, arguments in objectives):
        return
    teachers = [name for name, arguments in objectives if any(argument in arguments for argument in TEACHERS)]
    if teachers:
        yield (
            f"model.objectives: the encoder is frozen, and {', '.join(teachers)} would train it against a teacher that "
            "is its average; leave it out or do not freeze the encoder"
        )


def _start(config: Config) -> Iterator[str]:
    start, source = get(config, "start_from"), get(config, "source")
    if start and source and start != source:  # A config that asks for a source is told the same run by both.
        yield (
            f"start_from loads the whole of {start}, so what source brought from {source} is overwritten; give "
            "start_from alone, or the same run to both where the config needs a source"
        )


def _window(config: Config) -> Iterator[str]:
    frames = get(config, "data.frames")
    for name, arguments in _objectives(config):
        for window in _windows(arguments.get("dynamics")):
            if frames and window >= frames:
                yield (
                    f"model.objectives.{name}: the dynamics' window is {window} frames, and of a clip of {frames} "
                    f"{frames - 1} are read, so that the rest of it is never trained; raise data.frames to "
                    f"{window + 1}, or lower the window to {frames - 1}"
                )


def _windows(part: Any) -> Iterator[int]:
    """The windows of a dynamics, which may be within another, as an ensemble's member."""
    if isinstance(part, dict):
        yield from (value for name, value in part.items() if name == "window" and isinstance(value, int))
        for value in part.values():
            yield from _windows(value)


def _calibration(config: Config) -> Iterator[str]:
    frames = get(config, "calibration_frames")
    made = [str(get(arguments, "dynamics.class_path", "")) for _, arguments in _objectives(config)]
    if frames and not any(path.endswith("Ensemble") for path in made):
        yield (
            f"calibration_frames is {frames} and no dynamics is an Ensemble: nothing expects errors that could be "
            "fitted; leave it out, or train an Ensemble, as configs/dynamics/ensemble.yaml does"
        )


CHECKS = (_warmup, _steps, _batch, _precision, _teachers, _accumulation, _frozen, _start, _window, _calibration)


def _objectives(config: Config) -> list[tuple[str, Config]]:
    objectives = get(config, "model.objectives", {})
    return [(name, get(objective, "init_args", {})) for name, objective in objectives.items()]


def _peak(lr: Any) -> float | None:
    """The highest value of a learning rate, a number or a schedule."""
    if isinstance(lr, int | float):
        return float(lr)
    values = [get(lr, f"init_args.{name}") for name in ("peak", "value", "start", "end")]
    return max((float(value) for value in values if value is not None), default=None)


def _always_one(decay: Any) -> bool:
    if isinstance(decay, dict):
        values = list(get(decay, "init_args", {}).values())
        return bool(values) and all(value == 1 for value in values)
    return all(value == 1 for value in decay) if isinstance(decay, list) else decay == 1
