"""World models from wherever they come: this package's folders, and published checkpoints."""

import logging
import re
from pathlib import Path
from typing import Any

from jepa_wm.contracts import Encoder
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.dynamics.layouts import Told, convert
from jepa_wm.encoders.hub import hub_folder
from jepa_wm.encoders.pickled import read_tensors
from jepa_wm.encoders.weights import WRAPPERS, State
from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.world_model import WorldModel

logger = logging.getLogger("jepa_wm")

OUTER = re.compile(r"^(?:(?:state_dict|model)\.)+")
"""What is around all of a world model's names in training checkpoints."""
SUFFIXES = (".pt", ".pth", ".tar", ".ckpt", ".safetensors")
LAST = ("weights.pt", "model_latest.pth")
"""The file that is meant where a folder has several."""


def load_world_model(
    source: str | Path,
    action_dim: int | None = None,
    heads: int | None = None,
    size: int | None = None,
    encoder: Encoder | str | None = None,
    statistics: dict[str, Any] | None = None,
) -> WorldModel:
    """Load a world model, in eval mode: a published checkpoint, or what this package has saved.

    All but the source is about published checkpoints, what their weights do not tell; what was published stands in
    for what is left out.

    Args:
        source: a file of weights of LeWM, DINO-WM …, a folder with one, a run or a saved folder of this package, or
            "owner/name" of either on the hub.
        action_dim: A of one environment step.
        heads: attention heads of the predictor.
        size: side in pixels of the pictures that the encoder is given, where that is a `ViT`.
        encoder: the encoder, where the checkpoint has none, or a source of `load_encoder`; a `ViT` is itself set to the
            size, and of DINO-WM the colours, that the predictor was trained with.
        statistics: of the data it was trained on, lists of A or P numbers: `action_mean`, `action_std`, and where it
            reads states `state_mean`, `state_std`; `action_bounds` is a pair of lists. Without any, actions and states
            are as the predictor was trained on them: in standard deviations from the mean, of robots in metres and
            radians; and actions are bounded by three.

    Raises:
        UserError: if there is no such source, it is broken, no layout recognises it, or something is said that does
            not apply.
    """
    for name, number in (("action_dim", action_dim), ("heads", heads), ("size", size)):
        if number is not None and number < 1:
            raise UserError(f"load_world_model: got {name} {number}; expected 1 or more, or none")
    told = Told({}, action_dim, heads, size, encoder)
    path = Path(source)
    if not path.exists() and str(source).count("/") == 1 and not str(source).startswith("."):
        path = hub_folder(str(source), None)
    if any((path / inner / "encoder").is_dir() for inner in ("", "model")):
        if told != Told({}) or statistics:
            raise UserError(f"{path} is a folder of this package, which says all of itself; give its path alone")
        return WorldModel.from_pretrained(path)
    file = path if path.is_file() else _weights(path)
    told = told._replace(config=_config(file.parent / "config.json"))
    parts, layout = convert(unwrapped(read_tensors(file)), told, str(file))
    logger.info("loaded %s (%s layout)", file, layout)
    bounds = ActionBounds(parts.dynamics.action_dim, parts.dynamics.frame_skip)
    if statistics:
        for part in (parts.dynamics, parts.frames, bounds):
            part.prepare(statistics)
    else:
        bounds.prepare({"action_mean": [0.0] * bounds.action_dim, "action_std": [1.0] * bounds.action_dim})
    return WorldModel(parts.encoder, parts.dynamics, frames=parts.frames, bounds=bounds).eval()


def unwrapped(state: State) -> State:
    """Names without what wraps a whole world model, or a part of it."""
    return {OUTER.sub("", WRAPPERS.sub("", name)): value for name, value in state.items()}


def _config(path: Path) -> dict[str, Any]:
    """What is said beside the weights."""
    config = read_json(path) if path.is_file() else {}
    if not isinstance(config, dict):
        raise UserError(f"{path} holds {config!r:.80}; expected an object")
    return config


def _weights(folder: Path) -> Path:
    """The one file of weights in a folder, or in its `checkpoints`."""
    if not folder.is_dir():
        raise UserError(f"'{folder}' is no file or folder; expected one, or owner/name of a model on the hub")
    found = sorted(path for inner in ("", "checkpoints") for path in (folder / inner).glob("*"))
    found = [path for path in found if path.suffix in SUFFIXES]
    chosen = [path for path in found if len(found) == 1 or path.name in LAST]
    if len(chosen) != 1:
        names = ", ".join(path.name for path in found) or "no file of weights"
        raise UserError(f"{folder} holds {names}; expected one file of weights, or the path of one of these")
    return chosen[0]
