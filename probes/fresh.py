"""The control that every probe needs: the same configuration with weights that were never trained."""

from typing import TypeVar

from torch import nn

from jepa_wm.checkpoint import build, spec
from jepa_wm.standard import Standard

M = TypeVar("M", bound=nn.Module)


def fresh(module: M) -> M:
    """A module of the same configuration with weights that torch's generator draws, in eval mode.

    What was measured on the data and not learned, the units of actions and states, stays as it was.
    """
    made: M = build(spec(module)).eval()
    for new, old in zip(made.modules(), module.modules(), strict=True):
        if isinstance(new, Standard):
            new.load_state_dict(old.state_dict())
    return made
