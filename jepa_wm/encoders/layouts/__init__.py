"""Layouts of published encoders, one file each.

A layout is a module with a docstring whose first line ends its name with a colon, and two functions:

    recognises(state, config) -> bool       is this it? from names, shapes, and `config.json` ({} where there is none)
    convert(state, config) -> ViT           our ViT with these weights; here config["name"] is the file's or folder's

A new one is a new file here; nothing else has to know it.
"""

import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State, unwrapped
from jepa_wm.errors import UserError


def layouts() -> list[ModuleType]:
    """Every layout there is."""
    return [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]


def title(layout: ModuleType) -> str:
    """What a layout calls itself."""
    return str(layout.__doc__).partition(":")[0]


def the_one(found: list[ModuleType], known: list[ModuleType], what: str, state: State, hint: str = "") -> ModuleType:
    """The layout that recognises a state, of those known.

    Raises:
        UserError: if none does, or several; it begins with `what`, names some tensors, and ends with `hint`.
    """
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{name} {tuple(value.shape)}" for name, value in list(state.items())[:4])
    titles = ", ".join(title(layout) for layout in found or known)
    raise UserError(
        f"{what} {'several layouts' if found else 'no layout'} of {titles} recognise{'' if found else 's'}: "
        f"{names or 'no tensors at all'} …{hint}"
    )


def convert(state: State, config: dict[str, Any], where: str) -> tuple[ViT, str]:
    """A published state as our `ViT`, in eval mode, and what its layout is called.

    Args:
        state: its tensors by their published names.
        config: what its `config.json` says; of a raw checkpoint what the user says.
        where: the file or folder, for messages.

    Raises:
        UserError: if no layout recognises it, several do, or the tensors do not fit the one that does.
    """
    state = unwrapped(state)
    found = [layout for layout in layouts() if layout.recognises(state, config)]
    kind = f"a model of the type '{config['model_type']}'" if "model_type" in config else "weights"
    hint = "; weights of a timm or open_clip model are read as 'timm:NAME@FILE' or 'open_clip:NAME@FILE'"
    layout = the_one(found, layouts(), f"{where} holds {kind} that", state, hint)
    try:
        return layout.convert(state, config | {"name": Path(where).name}), title(layout)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
