"""What is read off latents: state, reward, value, pictures."""

from jepa_wm.dynamics.heads.continuation import ContinueHead
from jepa_wm.dynamics.heads.head import Head, check_heads, check_name, reader
from jepa_wm.dynamics.heads.pixels import PixelHead
from jepa_wm.dynamics.heads.reward import RewardHead
from jepa_wm.dynamics.heads.state import StateHead
from jepa_wm.dynamics.heads.value import ValueHead

__all__ = [
    "ContinueHead",
    "Head",
    "PixelHead",
    "RewardHead",
    "StateHead",
    "ValueHead",
    "check_heads",
    "check_name",
    "reader",
]
