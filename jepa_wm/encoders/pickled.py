"""The tensors of any file of weights, those of whole pickled modules too, whose code is never run."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jepa_wm.encoders.weights import State, read_weights


class Husk:
    """Stands for an object of a class that torch does not read by itself, and keeps what it was made of."""

    held: dict[Any, Any]

    def __new__(cls, *args: Any) -> "Husk":
        made = super().__new__(cls)
        made.held = {}
        return made

    def __init__(self, *args: Any) -> None:
        """Whatever it is called with."""

    def __setstate__(self, state: Any) -> None:
        self.held = state if isinstance(state, dict) else {}


def _dict(*args: Any) -> dict[Any, Any]:
    """Stands for a dict with defaults, as optimizers have: torch fills dicts alone."""
    return {}


def read_tensors(path: Path) -> State:
    """Every tensor of a file of weights, by the names that lead to it; see `tensors`.

    Raises:
        UserError: if it is broken.
    """
    unknown: list[str] = []
    if path.is_file() and path.suffix != ".safetensors":
        try:
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        except Exception:  # broken, or older than zip files: reading it says what is wrong, or reads it
            unknown = []
    known: list[Any] = [(_dict if name == "collections.defaultdict" else Husk, name) for name in unknown]
    with torch.serialization.safe_globals(known):
        return tensors(read_weights(path))


def tensors(value: Any, name: str = "") -> State:
    """The tensors in a tree of dicts and modules: parameters and buffers by the names that a state dict has."""
    if isinstance(value, Tensor):
        return {name: value.detach()}
    if isinstance(value, Husk):
        parts = (value.held.get(kind) for kind in ("_parameters", "_buffers", "_modules"))
        value = {key: inner for part in parts if isinstance(part, dict) for key, inner in part.items()}
    if not isinstance(value, dict):
        return {}
    found: State = {}
    for key, inner in value.items():
        found |= tensors(inner, f"{name}.{key}" if name else str(key))
    return found
