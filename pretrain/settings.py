"""Which settings a run may have, and with which others it may go on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.manifest import is_complete, read_manifest
from pretrain.callbacks.resumable import resume_path
from pretrain.configuration import Config, device_count, samples_of_a_step

OF_THE_MACHINE = {"data.workers", "data.cache", "trainer.accelerator", "trainer.devices", "trainer.num_nodes"}
OF_THE_MACHINE |= {"resume.steps", "resume.minutes", "wandb"}
"""Settings that a run may be continued with others of: the data come in the same order."""
SHOWN = 5
"""Differences that an error names."""


def check_steps(config: Config) -> None:
    """Refuse a training that does not say how long it is.

    Raises:
        UserError: if `trainer.max_steps` is unset or less than 1.
    """
    steps = config["trainer"]["max_steps"]
    if steps < 1:
        raise UserError(
            f"trainer.max_steps: got {steps}; expected 1 or more: schedules, teachers and snapshots are shares of it, "
            "so say how many optimiser steps there are, and not how many epochs"
        )


def check_folder(run: Path, stage: str, config: Config) -> None:
    """Refuse a run folder that holds something else.

    Raises:
        UserError: if it is a run of another stage or begun with other settings, or no run and not empty.
    """
    started = run / "config.json"
    if is_complete(run):
        read_manifest(run, stage)
    if started.is_file() and (different := _differences(read_json(started), config)):
        raise UserError(
            f"{run} was started with other settings: {'; '.join(different[:SHOWN])}"
            f"{f'; and {len(different) - SHOWN} more' if len(different) > SHOWN else ''}; "
            "use another --run, or delete it to start again"
        )
    if not started.is_file() and run.is_dir() and any(run.iterdir()):
        raise UserError(f"{run} is not empty and is no run of {stage}; use another --run")


def changes(run: Path, config: Config) -> Iterator[str]:
    """Warn of what is another when a run goes on: the samples of a step, if there are more or fewer devices."""
    if not resume_path(run).is_file():
        return
    begun = read_json(run / "config.json")
    before, now = samples_of_a_step(begun), samples_of_a_step(config)
    if before != now:
        yield (
            f"{run} was begun with {before} samples a step ({device_count(begun)} devices) and goes on with {now} "
            f"({device_count(config)} devices), which model.lr is not for; use {device_count(begun)} devices, or begin "
            "another --run"
        )


def _differences(old: Config, new: Config) -> list[str]:
    """What two configurations differ in, settings of the machine aside: option, old value and new."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return [f"{name}={before.get(name)!r}, got {after.get(name)!r}" for name in names]


def _leaves(config: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All settings of the run by dotted name."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name in OF_THE_MACHINE:
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value
