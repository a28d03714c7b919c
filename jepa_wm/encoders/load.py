"""Loading of trained encoders and text towers."""

from pathlib import Path

from torch import nn

from jepa_wm.checkpoint import find_part, load_module


def load_encoder(source: str, part: str = "encoder") -> nn.Module:
    """Load an encoder from a run folder or a checkpoint folder.

    Args:
        source: the folder of a run (`runs/demo/pretrain`) or of one of its checkpoints.
        part: "encoder" for the trained weights, "teacher" for their moving average.

    Raises:
        UserError: if the folder holds no such part, or it is broken.
    """
    return load_module(find_part(Path(source), part))


def load_text(source: str) -> nn.Module:
    """Load a text alignment from a run folder or a checkpoint folder.

    Args:
        source: the folder of a run (`runs/demo/pretrain`) or of one of its checkpoints.

    Raises:
        UserError: if the folder holds none, or it is broken.
    """
    return load_module(find_part(Path(source), "text"))
