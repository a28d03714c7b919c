"""Latents and actions to future latents."""

from jepa_wm.dynamics.rollout import rollout
from jepa_wm.dynamics.transformer import TransformerDynamics

__all__ = ["TransformerDynamics", "rollout"]
