"""Every shipped recipe is read, and built as far as it can be without data, weights or a GPU."""

from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import nn

from jepa_wm.paths import config_root
from pretrain.advice import advice
from pretrain.cli import Check, _parsed, plain_config
from pretrain.module import Training

RECIPES = sorted((config_root() / "recipes").glob("*.yaml"))
SMALL = sorted((config_root() / "objectives").glob("*.yaml"))
TWO_ROOMS = [path for path in sorted((config_root() / "two_rooms").glob("*.yaml")) if "\n  lr: " in path.read_text()]
every_recipe = pytest.mark.parametrize("path", [*RECIPES, *SMALL], ids=lambda path: f"{path.parent.name}/{path.stem}")


@every_recipe
def test_it_has_no_unknown_key_and_nothing_to_warn_of(path: Path) -> None:
    config = plain_config(_parsed(Check, [f"--config={path}"]))
    warnings = [warning for warning in advice(config) if "this processor only emulates" not in warning]
    given = yaml.safe_load(path.read_text())
    # Devices are written down, but a test has no cluster: the batch is the recipe's if they are counted.
    devices = given["trainer"].get("devices", 1) * given["trainer"].get("num_nodes", 1)
    assert given.get("recipe") is None or given["data"]["batch_size"] * devices == given["recipe"]["batch"]
    assert warnings == []


@pytest.mark.parametrize("path", SMALL + TWO_ROOMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_small_one_says_which_batch_its_rate_was_found_for(path: Path) -> None:
    given = yaml.safe_load(path.read_text())
    assert given["recipe"] == {"batch": given["data"]["batch_size"], "lr": given["model"]["lr"]}


@every_recipe
def test_it_is_built(path: Path) -> None:
    given = yaml.safe_load(path.read_text())
    if given.get("source"):
        pytest.skip("its encoder is another run's")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Training, "model")
    with torch.device("meta"):
        model = parser.instantiate(parser.parse_object({"model": given["model"]})).model
    assert isinstance(model, Training) and isinstance(model.encoder, nn.Module)
    assert model.exported()["encoder"] is not None
