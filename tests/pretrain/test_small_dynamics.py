"""The small forms of published world models: what their configs say fits together, and is what was published."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from jepa_wm.paths import config_root

SMALL = sorted((config_root() / "dynamics").glob("*.yaml"))
DIRECT = ("dinowm", "jepawm", "lewm", "pldm", "vjepa2_ac")
"""Those whose published predictors give the next latents themselves, not what is added to the last."""


def parts(path: Path) -> tuple[int, dict[str, Any]]:
    """Frames of a clip, and the arguments of the dynamics; of an ensemble, of its member."""
    given = yaml.safe_load(path.read_text())
    arguments = given["model"]["objectives"]["forecast"]["init_args"]["dynamics"]["init_args"]
    return given["data"]["frames"], arguments.get("member", {"init_args": arguments})["init_args"]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_every_distance_in_time_within_the_window_is_trained(path: Path) -> None:
    frames, arguments = parts(path)
    assert arguments.get("window", 1) < frames  # the last frame of a clip is predicted, and not read


@pytest.mark.parametrize("name", DIRECT)
def test_it_predicts_latents_as_the_published_one_does(name: str) -> None:
    _, arguments = parts(config_root() / "dynamics" / f"{name}.yaml")
    assert arguments["residual"] is False
