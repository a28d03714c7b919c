"""Latents and actions to future latents."""

from jepa_wm.dynamics.blocks import Trunk
from jepa_wm.dynamics.conditioning import Felt
from jepa_wm.dynamics.dino_wm import DinoWMDynamics
from jepa_wm.dynamics.ensemble import Ensemble
from jepa_wm.dynamics.jepa_wm import JepaWMDynamics
from jepa_wm.dynamics.lewm import LeWMDynamics
from jepa_wm.dynamics.mlp import MLPDynamics
from jepa_wm.dynamics.positions import TimeRope
from jepa_wm.dynamics.prefix import PrefixDynamics
from jepa_wm.dynamics.recurrent import RecurrentDynamics
from jepa_wm.dynamics.rollout import rollout, rollouts
from jepa_wm.dynamics.transformer import TransformerDynamics
from jepa_wm.dynamics.vjepa2_ac import VJepa2ACDynamics

__all__ = [
    "DinoWMDynamics",
    "Ensemble",
    "Felt",
    "JepaWMDynamics",
    "LeWMDynamics",
    "MLPDynamics",
    "PrefixDynamics",
    "RecurrentDynamics",
    "TimeRope",
    "TransformerDynamics",
    "Trunk",
    "VJepa2ACDynamics",
    "rollout",
    "rollouts",
]
