"""Layouts of published world models, one file each.

A layout is a module with a docstring whose first line ends its name with a colon, and two functions:

    recognises(state) -> bool       is this it? from names and shapes
    convert(state, told) -> Parts   our encoder, frames and dynamics with these weights

`state` has all tensors of a file, by the names that lead to them: a checkpoint {"predictor": {"module.norm.weight": …}}
has a "predictor.norm.weight", without what wraps (`module.`, `_orig_mod.`, an outer `model.` or `state_dict.`).
`told` is what the user says of what weights do not tell; what was published stands in for what is left out.

A new one is a new file here; nothing else has to know it. What several share is in `jepa_wm.dynamics.published`.
"""

import logging
import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from jepa_wm.contracts import Dynamics, Encoder
from jepa_wm.encoders.frames import Frames
from jepa_wm.encoders.layouts import the_one, title
from jepa_wm.encoders.renaming import check_fit
from jepa_wm.encoders.weights import State
from jepa_wm.errors import UserError

Made = TypeVar("Made", bound=nn.Module)

logger = logging.getLogger("jepa_wm")

FRAME_SKIP = 5
"""Environment steps between two latents in all published models of simulated worlds."""
HEAD = 64
"""Channels of an attention head in LeWM's and DINO-WM's classes."""


class Told(NamedTuple):
    """What weights do not tell; None for what was published.

    Attributes:
        config: what a `config.json` beside the weights says; {} where there is none.
        action_dim: A of one environment step.
        heads: attention heads of the predictor.
        size: side in pixels of the pictures that the encoder is given.
        encoder: the encoder, where the checkpoint has none, or a source of `load_encoder`.
    """

    config: dict[str, Any]
    action_dim: int | None = None
    heads: int | None = None
    size: int | None = None
    encoder: Encoder | str | None = None

    def says(self, part: str) -> dict[str, Any]:
        """What the config says of a part; {} where it says nothing.

        Raises:
            UserError: if that is no object.
        """
        found = self.config.get(part, {})
        if not isinstance(found, dict):
            raise UserError(f'"{part}" in the config.json beside it is {found!r}; expected an object')
        return found

    def attention(self, channels: int, published: int | None = None) -> int:
        """The predictor's attention heads, which share so many channels: as told, in the config, or as published.

        Args:
            channels: of all heads together.
            published: their number; where none is given, published heads have `HEAD` channels each.

        Raises:
            UserError: if they do not share out the channels.
        """
        told = self.heads or self.says("predictor").get("heads")
        heads = told or published or (channels // HEAD if channels % HEAD == 0 else None)
        if not isinstance(heads, int) or heads < 1 or channels % heads:
            raise UserError(
                f"its predictor's attention has {channels} channels; got {'no' if heads is None else heads} heads, "
                "expected a divisor of that: give heads="
            )
        how = "as told" if told else "as published, for its weights do not tell"
        logger.info("the predictor has %d heads of %d channels (%s)", heads, channels // heads, how)
        return heads

    def refuse_encoder(self) -> None:
        """Of a checkpoint that has its encoder.

        Raises:
            UserError: if another is given.
        """
        if self.encoder is not None:
            got = self.encoder if isinstance(self.encoder, str) else f"a {type(self.encoder).__name__}"
            raise UserError(f"it has an encoder of its own; got encoder={got}, expected none: leave it out")

    def of_robots(self, block: int) -> "Told":
        """The same of blocks of so many numbers, which are one action where robots' frames are a step apart."""
        return self if self.action_dim or not block % FRAME_SKIP else self._replace(action_dim=block)

    def steps(self, block: int) -> tuple[int, int]:
        """The action_dim and the frame_skip of blocks of so many numbers.

        Raises:
            UserError: if they do not divide it.
        """
        action_dim = self.action_dim or block // FRAME_SKIP
        if action_dim < 1 or block % action_dim or (self.action_dim is None and block % FRAME_SKIP):
            raise UserError(
                f"its blocks of actions have {block} numbers; got an action_dim of {self.action_dim}, expected a "
                f"divisor of {block}"
            )
        return action_dim, block // action_dim


class Parts(NamedTuple):
    """What a world model is made of.

    Attributes:
        encoder: with the preprocessing that it was trained with.
        frames: how frames become latents.
        dynamics: the predictor.
    """

    encoder: Encoder
    frames: Frames
    dynamics: Dynamics


def filled(state: State, layout: str, made: Made) -> Made:
    """A module with the tensors of a renamed state, in float32 or double precision; its normalisers stay: published
    models have none, their loaders standardise actions and states before the model sees them.

    Raises:
        UserError: if names or shapes do not fit.
    """
    own = {name: value for name, value in made.state_dict().items() if "standard" in name.split(".")}
    check_fit(state | own, layout, made)
    made.to(torch.promote_types(next(iter(state.values())).dtype, torch.float32)).load_state_dict(state | own)
    return made.eval()


def blocks(state: State) -> int:
    """The number of blocks of a renamed state."""
    return 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))


def layouts() -> list[ModuleType]:
    """Every layout there is."""
    return [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]


def convert(state: State, told: Told, where: str) -> tuple[Parts, str]:
    """A published state as our parts, and what its layout is called.

    Args:
        state: its tensors, see above.
        told: what they do not tell.
        where: the file, for messages.

    Raises:
        UserError: if no layout recognises it, several do, or the tensors do not fit the one that does.
    """
    found = [layout for layout in layouts() if layout.recognises(state)]
    layout = the_one(found, layouts(), f"{where} holds weights that", state)
    try:
        return layout.convert(state, told), title(layout)
    except KeyError as error:
        raise UserError(f"{where}: {error} is missing, which the {title(layout)} layout has") from None
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
