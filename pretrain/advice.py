"""What users get wrong: warnings read off a configuration, before anything is built."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from jepa_wm.precision import has_bf16

Config = dict[str, Any]

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
    steps = _get(config, "trainer.max_steps", 1)
    for name in ("lr", "weight_decay"):
        schedule = _get(config, f"model.{name}")
        share = _get(schedule, "init_args.warmup") if isinstance(schedule, dict) else _get(config, "model.warmup")
        if isinstance(schedule, int | float) and name != "lr":
            continue
        if share and 0 < share * steps < 1:
            yield (
                f"model.{name}: the warm-up is {share:g} of {steps} steps, less than one; "
                f"train for at least {math.ceil(1 / share)} steps, or warm up for longer"
            )


def _steps(config: Config) -> Iterator[str]:
    steps, batches = _get(config, "trainer.max_steps", 1), _accumulated(config)
    between = _get(config, "trainer.val_check_interval")
    if isinstance(between, int) and between > steps * batches:
        yield (
            f"trainer.val_check_interval is {between} batches and training has {steps * batches}; nothing is ever "
            "validated, and no collapse is noticed"
        )
    if _get(config, "snapshots", 0) > steps:
        yield f"snapshots is {config['snapshots']} and training has {steps} steps; there is one a step at most"


def _batch(config: Config) -> Iterator[str]:
    recipe, size = _get(config, "recipe"), _get(config, "data.batch_size")
    lr = _peak(_get(config, "model.lr"))
    if not recipe or not size or lr is None:
        return
    devices, batch = device_count(config), samples_of_a_step(config)
    low, high = _rates(recipe, batch)
    if not low <= lr <= high:
        larger = batch / recipe["batch"]
        yield (
            f"a step has {batch} samples ({size} x {devices} devices x {_accumulated(config)} accumulated) and the "
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
    precision = str(_get(config, "trainer.precision") or "")
    asked = _get(config, "trainer.accelerator", "auto")
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
    if _accumulated(config) == 1:
        return
    for name, objective in _get(config, "model.objectives", {}).items():
        arguments = _get(objective, "init_args", {})
        path = str(_get(objective, "class_path", "")).rpartition(".")[2]
        if any(part in path for part in OF_THE_BATCH) or any(_get(arguments, k) for k in ("sigreg", "koleo")):
            yield (
                f"model.objectives.{name} ({path}) compares the samples of a batch, and with "
                f"trainer.accumulate_grad_batches {_accumulated(config)} those of each part alone: its batch is "
                f"{_get(config, 'data.batch_size')} x {device_count(config)}, not the sum of the parts"
            )


def _frozen(config: Config) -> Iterator[str]:
    objectives = _objectives(config)
    if not objectives or not any(_get(arguments, "freeze_encoder") for _, arguments in objectives):
        return
    teachers = [name for name, arguments in objectives if any(argument in arguments for argument in TEACHERS)]
    if teachers:
        yield (
            f"model.objectives: the encoder is frozen, and {', '.join(teachers)} would train it against a teacher that "
            "is its average; leave it out or do not freeze the encoder"
        )


def _start(config: Config) -> Iterator[str]:
    if _get(config, "start_from") and _get(config, "source"):
        yield "start_from loads the whole of another run, so what source brought is overwritten; give one of them"


CHECKS = (_warmup, _steps, _batch, _precision, _teachers, _accumulation, _frozen, _start)


def _get(config: Any, path: str, default: Any = None) -> Any:
    """What stands at a dotted path; the default where nothing does, or null."""
    for key in path.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return default if config is None else config


def _objectives(config: Config) -> list[tuple[str, Config]]:
    objectives = _get(config, "model.objectives", {})
    return [(name, _get(objective, "init_args", {})) for name, objective in objectives.items()]


def _accumulated(config: Config) -> int:
    return int(_get(config, "trainer.accumulate_grad_batches", 1))


def samples_of_a_step(config: Config) -> int:
    """Samples of an optimiser step, over all devices and accumulated batches."""
    return int(_get(config, "data.batch_size")) * device_count(config) * _accumulated(config)


def device_count(config: Config) -> int:
    """Devices over all nodes; where their number is left to the machine, as many as it has."""
    devices = _get(config, "trainer.devices", "auto")
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if devices in ("auto", -1):
        devices = max(torch.cuda.device_count(), 1)
    count = (
        len(devices) if isinstance(devices, list) else len(devices.split(",")) if isinstance(devices, str) else devices
    )
    return int(count * _get(config, "trainer.num_nodes", 1))


def _peak(lr: Any) -> float | None:
    """The highest value of a learning rate, a number or a schedule."""
    if isinstance(lr, int | float):
        return float(lr)
    values = [_get(lr, f"init_args.{name}") for name in ("peak", "value", "start", "end")]
    return max((float(value) for value in values if value is not None), default=None)


def _always_one(decay: Any) -> bool:
    if isinstance(decay, dict):
        values = list(_get(decay, "init_args", {}).values())
        return bool(values) and all(value == 1 for value in values)
    return all(value == 1 for value in decay) if isinstance(decay, list) else decay == 1
