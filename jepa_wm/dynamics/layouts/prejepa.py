"""PreJEPA: DINO-WM's encoder, predictor and embeddings, as stable-worldmodel's class of that name has them.

Source: galilai-group/stable-worldmodel, `wm/prejepa` (arXiv 2411.04983). The channels of a token are those of the
pictures and then of what is embedded beside them, in the order in which the file has the embeddings; here the action's
are last, and what else is embedded is one state. Its DINOv2 sees pictures of 224 pixels in ImageNet's colours, and is
in the file; other encoders are not read.
"""

import re

import torch
from torch import Tensor

from jepa_wm.dynamics.layouts import Parts, Told
from jepa_wm.dynamics.layouts.dino_wm import predictor
from jepa_wm.dynamics.published import expecting, fitting, part, states
from jepa_wm.encoders.frames import PatchFrames
from jepa_wm.encoders.layouts import dinov2
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State
from jepa_wm.errors import UserError

SIZE = 224
ENTERING = re.compile(r"\.(to_qkv|net\.1)\.weight$|\.pos_embedding$")
"""Whose last axis has the channels of a token; it is the first of all others but those below."""
WITHIN = re.compile(r"\.net\.1\.bias$|\.layers\.\d+\.0\.bias$")
"""The MLPs' own channels, and masks, which are buffers."""


def recognises(state: State) -> bool:
    """Whether this is PreJEPA: DINO-WM's predictor, and the action among what else is embedded."""
    names = {"predictor.pos_embedding", "predictor.transformer.layers.0.0.to_qkv.weight"}
    return names | {"extra_encoders.action.patch_embed.weight"} <= state.keys()


def convert(state: State, told: Told) -> Parts:
    """PreJEPA's parts with these weights.

    Raises:
        UserError: if names or shapes do not fit, its encoder is no DINOv2, or what is said does not fit.
    """
    told.refuse_encoder()
    renamed = as_dino_wm(state)
    frames, config = states(part(renamed, "proprio_encoder"), PatchFrames()), told.says("predictor")
    found = expecting(backbone(state), told, SIZE)
    assert isinstance(found, ViT)
    embedded, block = renamed["action_encoder.patch_embed.weight"].shape[:2]
    rows, width = renamed["predictor.pos_embedding"].shape[1:]
    fitting(found, width - embedded - (frames.latent_dim(found) - found.dim))
    heads = told.attention(renamed["predictor.transformer.layers.0.0.to_out.0.weight"].shape[1])
    side = found.preprocessing.size // found.patch
    window, dropout = config.get("num_frames", rows // side**2), config.get("dropout", 0.1)
    return Parts(found, frames, predictor(renamed, side**2, told.steps(block)[0], heads, window, dropout))


def backbone(state: State) -> ViT:
    """The DINOv2 among these weights.

    Raises:
        UserError: if there is another encoder, or none.
    """
    start = "backbone.backbone." if any(name.startswith("backbone.backbone.") for name in state) else "backbone."
    own = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
    if "encoder.layer.0.layer_scale1.lambda1" not in own or "embeddings.register_tokens" in own:
        raise UserError("its encoder has no names of a DINOv2 without registers; expected that: others are not read")
    width = own["embeddings.cls_token"].shape[-1]
    return dinov2.convert(own, {"model_type": "dinov2", "num_attention_heads": width // 64})


def as_dino_wm(state: State) -> State:
    """The same by the names of DINO-WM's code, with one state, and the action's channels behind all others."""
    names = list(dict.fromkeys(name.split(".")[1] for name in state if name.startswith("extra_encoders.")))
    extra = {name: part(state, f"extra_encoders.{name}") for name in names}
    width, sizes = state["predictor.pos_embedding"].shape[-1], [len(extra[name]["patch_embed.bias"]) for name in names]
    channels = dict(zip(names, torch.arange(width)[-sum(sizes) :].split(sizes), strict=True))
    felt = [name for name in names if name != "action"]
    last = [channels[name] for name in (*felt, "action")]
    order = torch.cat([torch.arange(width - sum(sizes)), *last])
    found = {name: _ordered(name, value, order) for name, value in state.items() if name.startswith("predictor.")}
    found |= {f"action_encoder.{name}": value for name, value in extra["action"].items()}
    if felt:
        kernels = [extra[name]["patch_embed.weight"][:, :, 0] for name in felt]
        found["proprio_encoder.patch_embed.weight"] = torch.block_diag(*kernels)[:, :, None]
        biases = [extra[name]["patch_embed.bias"] for name in felt]
        found["proprio_encoder.patch_embed.bias"] = torch.cat(biases)
    return found


def _ordered(name: str, value: Tensor, order: Tensor) -> Tensor:
    """A tensor of the predictor with the channels of a token in another order."""
    if ENTERING.search(name):
        return value[..., order]
    return value if WITHIN.search(name) else value[order]
