"""Layouts of published encoders, one file each.

A layout is a module with a docstring whose first line ends its name with a colon, and two functions:

    recognises(state, config) -> bool       is this it? from names, shapes, and `config.json` ({} where there is none)
    convert(state, config) -> ViT           our ViT with these weights

A new one is a new file here; nothing else has to know it.
"""

import pkgutil
from importlib import import_module
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
    if len(found) != 1:
        kind = f"a model of the type '{config['model_type']}'" if "model_type" in config else "weights"
        names = ", ".join(f"{name} {tuple(value.shape)}" for name, value in list(state.items())[:4])
        known = ", ".join(title(layout) for layout in found or layouts())
        raise UserError(
            f"{where} holds {kind} that {'several layouts' if found else 'no layout'} of {known} recognise"
            f"{'' if found else 's'}: {names} …; weights of a timm or open_clip model are read as "
            f"'timm:NAME@FILE' or 'open_clip:NAME@FILE'"
        )
    try:
        return found[0].convert(state, config), title(found[0])
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
