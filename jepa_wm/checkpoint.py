"""Modules as folders: `config.json` says how to build one, `model.safetensors` what it has learned.

One rule makes it work for every module of the package: a constructor keeps each argument as an
attribute of the same name. Then a module's configuration can be read off the module itself.
"""

import hashlib
import inspect
import json
import math
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, read_json, write_json
from jepa_wm.manifest import NAME as MANIFEST
from jepa_wm.manifest import check_manifest

PACKAGE = "jepa_wm"
PARTS = "parts.json"
"""Beside saved modules: their names, so that one that is lost is missed."""
MODELS = (f"{PACKAGE}.encoders", f"{PACKAGE}.dynamics", f"{PACKAGE}.losses")
"""Where the classes are that saved models are made of. Others open files or run commands when they are constructed, and
a downloaded `config.json` must not."""


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
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}  # JSON has no number for it.
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return spec(value)


def build(config: Any, where: str = "config", within: Sequence[str] = (PACKAGE,)) -> Any:
    """Construct the object that `spec` described.

    Args:
        config: what it said.
        where: it was read.
        within: packages whose own classes are built, and no others. All of this one's are for a `config` that was
            made here, by `spec`; `MODELS` for one that was read from a file.

    Raises:
        UserError: if a class is foreign or unknown, or its arguments do not fit.
    """
    if isinstance(config, list):
        return [build(item, where, within) for item in config]
    if not isinstance(config, dict):
        return config
    if config.keys() == {"float"}:
        return float(config["float"])
    if "class_path" not in config:
        return {key: build(item, where, within) for key, item in config.items()}
    path = str(config["class_path"])
    _check_class(path, where, within)
    module_name, _, name = path.rpartition(".")
    try:
        cls = getattr(import_module(module_name), name)
        if not inspect.isclass(cls):
            raise TypeError(f"{path} is not a class")
        # A module has what it imports by name, too.
        _check_class(f"{cls.__module__}.{cls.__qualname__}", where, within)
        return cls(**{key: build(item, where, within) for key, item in config.get("init_args", {}).items()})
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise UserError(
            f"{where}: cannot build '{path}': {error}; the file is broken, or another version of {PACKAGE} made it"
        ) from error


def _check_class(path: str, where: str, within: Sequence[str]) -> None:
    if not any(path.startswith(f"{package}.") for package in within):
        raise UserError(f"{where}: class '{path}' is not part of {' or '.join(within)}, whose classes alone are built")


def _check_classes(config: Any, where: str) -> None:
    """Refuse to save what `load_module` would refuse to build."""
    if isinstance(config, list):
        for item in config:
            _check_classes(item, where)
    elif isinstance(config, dict):
        if "class_path" in config:
            _check_class(config["class_path"], where, MODELS)
        for item in config.values():
            _check_classes(item, where)


def save_modules(folder: str | Path, modules: dict[str, nn.Module]) -> None:
    """Save named modules to `folder/<name>/`, all of them or none.

    Raises:
        UserError: if one is, or has in it, what is no part of `MODELS`, which could not be loaded.
    """
    with atomic_path(folder) as aside:
        for name, module in modules.items():
            (aside / name).mkdir(parents=True)
            config = spec(module)
            _check_classes(config, f"'{name}' cannot be saved")
            write_json(aside / name / "config.json", config)
            state = {key: value.contiguous() for key, value in module.state_dict().items()}
            save_file(state, aside / name / "model.safetensors")
        write_json(aside / PARTS, sorted(modules))


def saved_parts(folder: Path) -> list[str]:
    """The names of the modules that were saved into `folder`, all of them there; none where nothing says so.

    Raises:
        UserError: if one was lost since.
    """
    names = read_json(folder / PARTS) if (folder / PARTS).is_file() else []
    if not isinstance(names, list):
        raise UserError(f"{folder / PARTS} is no list of names; it is broken: copy or fetch it again")
    if missing := [str(name) for name in names if not (folder / str(name)).is_dir()]:
        raise UserError(f"{folder} lacks {', '.join(missing)}, which was saved with it; copy or fetch it again")
    return names


def load_module(folder: str | Path) -> nn.Module:
    """Build and fill the module in `folder`, in eval mode, on the CPU.

    Raises:
        UserError: if a file is missing or broken, or weights and configuration disagree.
    """
    folder = Path(folder)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{folder} holds no model: {weights.name} is missing")
    module = build(read_json(folder / "config.json"), str(folder / "config.json"), MODELS)
    if not isinstance(module, nn.Module):
        raise UserError(f"{folder / 'config.json'} describes no model; got a {type(module).__name__}: it is broken")
    try:
        state = load_file(weights)
        if any(value.dtype == torch.float64 for value in state.values()):
            module = module.double()
        module.load_state_dict(state)
    except SafetensorError as error:
        raise UserError(f"{weights} is broken: {error}; copy or fetch it again") from error
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise UserError(f"{weights} does not fit {folder / 'config.json'}: {why:.500}") from error
    return module.eval()


def find_part(source: str | Path, part: str) -> Path:
    """The folder of `part` ("encoder", "text", "dynamics" …) in a run folder or a checkpoint folder.

    Raises:
        UserError: if there is none, or another version made the run.
    """
    source = Path(source)
    if not source.is_dir():
        raise UserError(f"{source} is not a folder; expected a run folder or a checkpoint folder")
    for folder in (source / part, source / "model" / part):
        if folder.is_dir():
            run = _run_of(source)
            if (run / MANIFEST).is_file():
                check_manifest(read_json(run / MANIFEST), run)
            return folder
    found = sorted(path.name for path in source.glob("model/*/")) or sorted(path.name for path in source.glob("*"))
    raise UserError(f"{source} holds no '{part}'; it holds {found or 'nothing'}")


def _run_of(folder: Path) -> Path:
    """The run that a folder is, or that it is the model or a checkpoint of."""
    if folder.name == "model":
        return folder.parent
    return folder.parent.parent if folder.parent.name == "checkpoints" else folder
