"""What is read off latents: state, reward, value, pictures."""

from jepa_wm.dynamics.heads.head import Head, reader, told
from jepa_wm.dynamics.heads.pixels import PixelHead
from jepa_wm.dynamics.heads.returns import ContinueHead, RewardHead, ValueHead
from jepa_wm.dynamics.heads.standard import Standard
from jepa_wm.dynamics.heads.state import StateHead

__all__ = [
    "ContinueHead",
    "Head",
    "PixelHead",
    "RewardHead",
    "Standard",
    "StateHead",
    "ValueHead",
    "reader",
    "told",
]
