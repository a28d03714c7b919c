"""The main job: every stage of the staircase, one after the other, on the two-room world unless a preset says else."""

import json
import time
from pathlib import Path
from typing import Any

import yaml

from jepa_wm.cli import VERBS, run_verb
from jepa_wm.errors import UserError
from jepa_wm.files import read_json, write_json
from jepa_wm.manifest import is_complete
from jepa_wm.paths import find_config

STAGES = ("collect", "pretrain", "encode", "forecast", "plan", "probe", "report")
OPTIONAL = ("encode",)
"""Stages that a demo has only where its preset names them."""


def demo(out: str = "runs/demo", preset: str = "default") -> None:
    """Collect episodes, pretrain, forecast, plan, probe and report, each from what came before.

    Stages that are complete are skipped, so an interrupted demo continues where it was; the report,
    which takes a second, is always written anew.

    Args:
        out: folder of the demo; each stage has a folder of its name inside.
        preset: `default`, `smoke` (minutes, for checks), `doors`, `push_t`, or a YAML file of options by stage that
            take precedence over the configs in `two_rooms/`; the option `config` puts another in their place.

    Raises:
        UserError: if the preset is unknown or malformed, `out` was begun with another, or a complete stage had other
            options.
    """
    folder = Path(out)
    options = _preset(preset)
    _remember(folder, preset, options)
    stages = [stage for stage in STAGES if stage not in OPTIONAL or stage in options]
    for number, stage in enumerate(stages, 1):
        label = f"[{number}/{len(stages)}] {stage}"
        if stage != "report" and is_complete(folder / stage):
            print(f"{label}: complete already, skipped", flush=True)
            continue
        print(f"{label}: {VERBS[stage][1]}", flush=True)
        start = time.monotonic()
        # The folders are last: a config names its own, which would take their place.
        run_verb(stage, [*_arguments(options.get(stage, {})), *_folders(folder, stage, "encode" in options)])
        print(f"{label}: done in {time.monotonic() - start:.0f} s", flush=True)


def _folders(out: Path, stage: str, encoded: bool) -> list[str]:
    """The arguments that tell a stage where to write and which earlier stages to read."""
    clips = out / ("encode" if encoded else "collect")
    collect, pretrain, forecast, own = (out / name for name in ("collect", "pretrain", "forecast", stage))
    return {
        "collect": [f"--out={own}"],
        "pretrain": [f"--run={own}", f"--data.folder={collect}"],
        "encode": [f"--model={pretrain}", f"--data={collect}", f"--out={own}"],
        "forecast": [f"--run={own}", f"--data.folder={clips}", f"--source={pretrain}"],
        "plan": [f"--model={forecast}", f"--data={collect}", f"--out={own}"],
        "probe": [f"--data={collect}", f"--pretrain={pretrain}", f"--forecast={forecast}", f"--out={own}"],
        "report": [f"--runs={out}"],
    }[stage]


def _arguments(options: dict[str, Any]) -> list[str]:
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in options.items()]


def _preset(name: str) -> dict[str, dict[str, Any]]:
    path = find_config(name if Path(name).is_file() else f"demo/{name}")
    try:
        options = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(options, dict) or not all(isinstance(value, dict) for value in options.values()):
        raise UserError(f"{path}: got {type(options).__name__}; expected a mapping from a stage to its options")
    if unknown := sorted(set(options) - set(STAGES)):
        raise UserError(f"{path}: {unknown} are not stages; expected some of {list(STAGES)}")
    return options


def _remember(out: Path, preset: str, options: dict[str, dict[str, Any]]) -> None:
    """Refuse to continue a demo that was begun with another preset, or whose complete stages had other options."""
    record = out / "demo.json"
    if record.is_file():
        before = read_json(record)
        if before["preset"] != preset:
            raise UserError(
                f"{out} was begun with preset '{before['preset']}', got '{preset}'; use that one or another --out"
            )
        for stage in filter(lambda stage: is_complete(out / stage), STAGES):
            had, has = before.get("options", options).get(stage), options.get(stage)
            if had != has:
                raise UserError(
                    f"{out / stage} was made with the options {had} of preset '{preset}', which now has {has}; delete "
                    "it and the stages after it, or use another --out"
                )
    write_json(record, {"preset": preset, "options": options})
