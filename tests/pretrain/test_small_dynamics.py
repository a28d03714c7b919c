"""The small forms of published world models: what their configs say fits together, and is what was published."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics import rollout
from jepa_wm.paths import config_root

SMALL = sorted((config_root() / "dynamics").glob("*.yaml"))
PUBLISHED = {"dinowm": "dinowm_pusht", "jepawm": "jepawm_pusht", "lewm": "lewm_pusht", "pldm": "pldm_pusht"}
PUBLISHED |= {"vjepa2_ac": "vjepa2_ac_droid"}
"""The recipe that a small form is one of."""


def parts(path: Path) -> tuple[int, dict[str, Any]]:
    """Frames of a clip, and the arguments of the dynamics; of what is made of another one, of that."""
    given = yaml.safe_load(path.read_text())
    arguments = given["model"]["objectives"]["forecast"]["init_args"]["dynamics"]["init_args"]
    inner = arguments.get("member") or arguments.get("transformer") or {"init_args": arguments}
    return given["data"]["frames"], inner["init_args"]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_every_distance_in_time_within_the_window_is_trained(path: Path) -> None:
    frames, arguments = parts(path)
    assert arguments.get("window", 1) < frames  # the last frame of a clip is predicted, and not read


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
@torch.no_grad()
def test_it_is_built_and_imagines_as_far_as_its_clips_go(path: Path) -> None:
    given, (frames, arguments) = yaml.safe_load(path.read_text()), parts(path)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Dynamics, "made")
    parsed = parser.parse_object({"made": given["model"]["objectives"]["forecast"]["init_args"]["dynamics"]})
    made = parser.instantiate(parsed).made.eval()
    tokens = math.prod(arguments.get("grid", [arguments.get("tokens", 1), 1])) + ("state" in arguments)
    block = made.frame_skip * made.action_dim
    seen, actions = torch.randn(1, 1, tokens, made.latent_dim), torch.randn(1, frames - 1, block)
    assert rollout(made, seen, actions[:, :0], actions).shape == (1, frames - 1, tokens, made.latent_dim)


def test_all_blocks_of_a_plan_are_trained_at_once_in_the_form_that_does_so() -> None:
    frames, arguments = parts(config_root() / "dynamics" / "prefix.yaml")
    planned = yaml.safe_load((config_root() / "two_rooms" / "plan.yaml").read_text())["search"]["horizon"]
    assert frames - 1 == arguments["window"] >= planned


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_small_form_is_the_published_predictor_and_loss(name: str) -> None:
    small, whole = kind(f"dynamics/{name}"), kind(f"recipes/{PUBLISHED[name]}")
    assert small == whole


def kind(config: str) -> dict[str, Any]:
    """What a form has in common with its recipe: all but sizes, the state beside the patches, and how long it takes."""
    given = yaml.safe_load((config_root() / f"{config}.yaml").read_text())
    asked = given["model"]["objectives"]["forecast"]["init_args"]
    made, terms, frames = asked["dynamics"], asked.get("terms", {}), asked.get("frames", {})
    rollout = asked.get("rollout", {}).get("init_args", {})
    weights = {name: {**term["init_args"], "slices": None} for name, term in terms.items()}
    if frames.get("class_path", "").endswith("StateFrames"):
        frames = frames["init_args"]["frames"]
    return {
        "predictor": made["class_path"],
        "own": [made["init_args"].get(name) for name in ("dropout", "action_width")],
        "frames": frames.get("class_path"),
        "terms": {name: (terms[name]["class_path"], weights[name]) for name in terms},
        "rollout": rollout | {"weight": bool(rollout.get("weight", 1.0))},
        "asked": [asked.get(name) for name in ("error", "forced", "detach", "freeze_encoder")],
        "trained": [given["model"][name] for name in ("weight_decay", "betas")],
        "clip": given["trainer"]["gradient_clip_val"],
    }
