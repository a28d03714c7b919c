"""JEPA-WM: the predictor, and what embeds proprioception, as jepa-wms names them; its encoder is a released DINO.

Source: facebookresearch/jepa-wms (arXiv 2512.24497). Its files have neither the frozen encoder nor the statistics of
the data, which are in its code (`DATA_STATS`).
"""

import torch
from torch import Tensor

from jepa_wm.dynamics.jepa_wm import JepaWMDynamics
from jepa_wm.dynamics.layouts import Parts, Told, filled
from jepa_wm.dynamics.published import BLOCKS, HEADS, expecting, fitting, part, side, states, trunk
from jepa_wm.encoders.frames import PatchFrames
from jepa_wm.encoders.renaming import renamed
from jepa_wm.encoders.weights import State

ENCODERS = {1024: "hf:facebook/dinov3-vitl16-pretrain-lvd1689m"}
"""Of the published models, by width, where it is no DINOv2."""
SIZES = {1024: 256}
WINDOW = 2
"""Frames that the published planning reads."""

TABLE = ((r"\.adaLN_modulation\.1\.", ".modulation."), *BLOCKS)


def recognises(state: State) -> bool:
    """Whether this is JEPA-WM: a predictor that embeds actions, and whose blocks they modulate."""
    names = {"predictor_embed.weight", "action_encoder.weight", "predictor_blocks.0.adaLN_modulation.1.weight"}
    return names <= part(state, "predictor").keys()


def convert(state: State, told: Told) -> Parts:
    """JEPA-WM's parts with these weights.

    Raises:
        UserError: if names or shapes do not fit, or no encoder is known for them.
    """
    own, felt = part(state, "predictor"), part(state, "proprio_encoder")
    latent_dim, block = own["predictor_embed.weight"].shape[1], own["action_encoder.weight"].shape[1]
    given = told.encoder or ENCODERS.get(latent_dim)
    frozen = expecting(fitting(given, latent_dim), told, SIZES.get(latent_dim, 224))
    frames = states(felt, PatchFrames())
    action_dim, heads = told.of_robots(block).steps(block)[0], told.attention(len(own["action_encoder.weight"]), HEADS)
    return Parts(frozen, frames, predictor(own, action_dim, side(frozen), heads))


def predictor(state: State, action_dim: int, grid: tuple[int, int], heads: int, window: int = WINDOW) -> JepaWMDynamics:
    """JEPA-WM's predictor with the weights of a published state; states are what is wider than what enters.

    Args:
        state: tensors by their published names.
        action_dim: A of one environment step.
        grid: tokens of a frame in height and width, which weights do not tell.
        heads: attention heads, which they do not tell, either.
        window: frames that are read.

    Raises:
        UserError: if names or shapes do not fit.
    """
    found = renamed(state, TABLE)
    seen, block = found["enter.weight"].shape[1], found["actions.embed.weight"].shape[1]
    size = trunk(found, heads)
    felt = size.width - len(found["enter.weight"])
    made = JepaWMDynamics(seen + felt, grid, action_dim, block // action_dim, size, window, felt)
    return filled(folded(found), "JEPA-WM", made)


def folded(found: State) -> State:
    """The norms' own weights within the modulation that follows them: scale + 1 times the one, shift plus the other."""
    found = dict(found)
    for name in [name for name in found if name.endswith(".norms.0.weight")]:
        block = name.removesuffix("norms.0.weight")
        for kind in ("weight", "bias"):
            shift1, scale1, gate1, shift2, scale2, gate2 = found[f"{block}modulation.{kind}"].chunk(6)
            shift1, scale1 = _within(found, f"{block}norms.0.", shift1, scale1)
            shift2, scale2 = _within(found, f"{block}norms.1.", shift2, scale2)
            found[f"{block}modulation.{kind}"] = torch.cat([shift1, scale1, gate1, shift2, scale2, gate2])
    return {name: value for name, value in found.items() if ".norms." not in name}


def _within(found: State, norm: str, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Rows or biases of a shift and a scale with a norm's weight and bias in them."""
    weight, bias = found[f"{norm}weight"], found[f"{norm}bias"]
    if scale.ndim == 1:
        return shift + bias * (1 + scale), weight * (1 + scale) - 1
    return shift + bias[:, None] * scale, weight[:, None] * scale
