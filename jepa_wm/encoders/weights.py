"""Published files of weights: reading them safely, and choosing the encoder in them.

A file is untrusted input: it is read as tensors and plain values only, never unpickled.
"""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.files import read_json

State = dict[str, Tensor]

PARTS = {
    "target": ("target_encoder", "ema_encoder", "teacher", "model_ema", "state_dict_ema"),
    "context": ("encoder", "student"),
}
"""The names under which checkpoints keep an encoder: what was averaged over training, and what was trained."""

WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod|_checkpoint_wrapped_module)\.")
"""What data parallelism, `torch.compile` and recomputation put into names, wherever they wrap."""

INNER = (
    *("backbone.", "visual.trunk.", "vision_model.", "ijepa.", "vjepa2.", "dinov2.", "dinov2_with_registers."),
    *("dinov3_vit.", "vit."),
)
"""Prefixes of an encoder that is part of a larger model; all that does not bear them is the rest of that model."""


def read_weights(path: Path) -> Any:
    """What is in a file of weights, by `torch.save` or safetensors, on the CPU.

    Raises:
        UserError: if it is broken, or holds more than tensors and plain values.
    """
    if path.is_file() and not path.stat().st_size:
        raise UserError(f"{path} is empty; expected a file of weights: copy or fetch it again")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        # What is mapped into memory is read when it is used, so the optimizer's state never is.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors and plain values, which could run code and is not read, or is no file of "
            f"weights; save it again as tensors alone ({_first_line(error)})"
        ) from error
    except Exception as error:  # what a broken file raises is anyone's guess
        raise UserError(
            f"{path} is not a file of weights by torch.save or safetensors, or is broken ({_first_line(error)}); copy "
            "or fetch it again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def read_folder(folder: Path) -> State:
    """The tensors of a Hugging Face folder: `model.safetensors`, or shards that an index names.

    Raises:
        UserError: if there are none, or a shard is missing.
    """
    index = folder / "model.safetensors.index.json"
    names = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    missing = [name for name in names if not (folder / Path(name).name).is_file()]
    if missing:
        found = sorted(path.name for path in folder.iterdir())
        raise UserError(f"{folder} lacks {', '.join(missing)}; it holds {', '.join(found) or 'nothing'}")
    return {name: value for file in names for name, value in read_weights(folder / Path(file).name).items()}


def pick(checkpoint: Any, part: str, where: str) -> tuple[str, State]:
    """One encoder of a checkpoint, and the name it had there ("" where the checkpoint is nothing but one).

    Args:
        checkpoint: a state dict, or a dict of them with whatever else was saved.
        part: "target" (or "teacher"), "context" (or "encoder"), or a name in the checkpoint. "target" is satisfied
            with the only encoder there is.
        where: the file, for messages.

    Raises:
        UserError: if it holds no such part.
    """
    if not isinstance(checkpoint, dict) or not checkpoint:
        raise UserError(f"{where} holds a {type(checkpoint).__name__}; expected a dict of tensors")
    if is_state(checkpoint):
        if part not in ("target", "teacher"):
            raise UserError(f"{where} holds one set of weights and does not say of which part; leave out part='{part}'")
        return "", checkpoint
    states = {str(name): value for name, value in checkpoint.items() if is_state(value)}
    kind = {"teacher": "target", "encoder": "context"}.get(part, part)
    known = [name for name in (part, *PARTS.get(kind, ())) if name in states]
    if not known and kind == "target":
        others = [name for name in states if name in PARTS["context"]]
        known = others or [name for name in states if len(states) == 1 or name in ("model", "state_dict")]
    if not known:
        raise UserError(f"{where} holds no '{part}' weights; it holds {', '.join(map(str, checkpoint))}")
    return known[0], states[known[0]]


def is_state(value: Any) -> bool:
    """Whether this is a state dict: names and tensors."""
    return isinstance(value, dict) and bool(value) and all(isinstance(item, Tensor) for item in value.values())


def unwrapped(state: State) -> State:
    """Names without wrappers, and without the prefix of the model that the encoder is part of.

    Where one prefix marks the encoder, what does not bear it (heads, a text tower, a predictor) is left out.
    """
    state = {WRAPPERS.sub("", name): value for name, value in state.items()}
    for prefix in INNER:
        inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        state = inner or state
    return state
