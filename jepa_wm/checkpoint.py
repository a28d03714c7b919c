"""Modules as folders: `config.json` says how to build one, `model.safetensors` what it has learned.

One rule makes it work for every module of the package: a constructor keeps each argument as an
attribute of the same name. Then a module's configuration can be read off the module itself.
"""

import hashlib
import inspect
import json
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, read_json, write_json

PACKAGE = "jepa_wm"


def spec(module: Any) -> dict[str, Any]:
    """The configuration of `module`: `{"class_path": …, "init_args": {…}}`, nested where it nests."""
    cls = type(module)
    own = cls.__init__ not in (object.__init__, nn.Module.__init__)
    args = [name for name in inspect.signature(cls.__init__).parameters if name != "self"] if own else []
    return {
        "class_path": f"{cls.__module__}.{cls.__qualname__}",
        "init_args": {name: _plain(getattr(module, name)) for name in args},
    }


def fingerprint(modules: Iterable[nn.Module], also: str = "") -> str:
    """SHA-256 over the configurations and the weights of modules, and over what else tells them apart."""
    digest = hashlib.sha256(also.encode())
    for module in modules:
        digest.update(json.dumps(spec(module), sort_keys=True).encode())
        for name, value in sorted(module.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return spec(value)


def build(config: Any, where: str = "config") -> Any:
    """Construct the object that `spec` described.

    Only classes of this package are built: a downloaded `config.json` must not run other code.

    Raises:
        UserError: if a class is foreign or unknown, or its arguments do not fit.
    """
    if isinstance(config, list):
        return [build(item, where) for item in config]
    if not isinstance(config, dict):
        return config
    if "class_path" not in config:
        return {key: build(item, where) for key, item in config.items()}
    path = config["class_path"]
    if not str(path).startswith(PACKAGE + "."):
        raise UserError(f"{where}: class '{path}' is not part of {PACKAGE}, and only its classes are built")
    module_name, _, name = path.rpartition(".")
    try:
        cls = getattr(import_module(module_name), name)
        if not inspect.isclass(cls):
            raise TypeError(f"{path} is not a class")
        return cls(**{key: build(item, where) for key, item in config.get("init_args", {}).items()})
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise UserError(
            f"{where}: cannot build '{path}': {error}; the file is broken, or another version of {PACKAGE} made it"
        ) from error


def save_modules(folder: str | Path, modules: dict[str, nn.Module]) -> None:
    """Save named modules to `folder/<name>/`, all of them or none."""
    with atomic_path(folder) as aside:
        for name, module in modules.items():
            (aside / name).mkdir(parents=True)
            write_json(aside / name / "config.json", spec(module))
            state = {key: value.contiguous() for key, value in module.state_dict().items()}
            save_file(state, aside / name / "model.safetensors")


def load_module(folder: str | Path) -> nn.Module:
    """Build and fill the module in `folder`, in eval mode, on the CPU.

    Raises:
        UserError: if a file is missing or broken, or weights and configuration disagree.
    """
    folder = Path(folder)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{folder} holds no model: {weights.name} is missing")
    module = build(read_json(folder / "config.json"), str(folder / "config.json"))
    if not isinstance(module, nn.Module):
        raise UserError(f"{folder / 'config.json'} describes no model; got a {type(module).__name__}: it is broken")
    try:
        module.load_state_dict(load_file(weights))
    except SafetensorError as error:
        raise UserError(f"{weights} is broken: {error}; copy or fetch it again") from error
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise UserError(f"{weights} does not fit {folder / 'config.json'}: {why:.500}") from error
    return module.eval()


def find_part(source: str | Path, part: str) -> Path:
    """The folder of `part` ("encoder", "text", "dynamics" …) in a run folder or a checkpoint folder."""
    source = Path(source)
    if not source.is_dir():
        raise UserError(f"{source} is not a folder; expected a run folder or a checkpoint folder")
    for folder in (source / part, source / "model" / part):
        if folder.is_dir():
            return folder
    found = sorted(path.name for path in (source / "model").glob("*")) or sorted(path.name for path in source.glob("*"))
    raise UserError(f"{source} holds no '{part}'; it holds {found or 'nothing'}")
