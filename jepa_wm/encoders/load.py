"""Loading of trained encoders and text towers."""

from pathlib import Path

from torch import nn

from jepa_wm.checkpoint import find_part, load_module
from jepa_wm.encoders.text import TextAlignment
from jepa_wm.errors import UserError


def load_encoder(source: str, part: str = "encoder") -> nn.Module:
    """Load an encoder from a run folder or a checkpoint folder.

    Args:
        source: the folder of a run (`runs/demo/pretrain`) or of one of its checkpoints.
        part: "encoder" for the trained weights, "teacher" for their moving average.

    Raises:
        UserError: if the folder holds no such part, or it is broken.
    """
    return load_module(find_part(Path(source), part))


def load_text(source: str) -> TextAlignment:
    """Load a text alignment from a run folder or a checkpoint folder.

    Args:
        source: the folder of a run (`runs/demo/pretrain`) or of one of its checkpoints.

    Raises:
        UserError: if the folder holds none, or it is broken.
    """
    folder = find_part(Path(source), "text")
    text = load_module(folder)
    if not isinstance(text, TextAlignment):
        raise UserError(f"{folder} holds a {type(text).__name__}; expected a TextAlignment")
    return text
