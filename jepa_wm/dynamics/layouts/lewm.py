"""LeWM: encoder, predictor, and the projections behind both, as stable-worldmodel names them.

Source: galilai-group/stable-worldmodel, `wm/lewm` (arXiv 2603.19312). It saves `weights.pt` and a `config.json`, and
leaves the statistics of actions in its data set: its models know standardised actions alone.
"""

from typing import Any

from jepa_wm.dynamics.layouts import Parts, Told, blocks, filled
from jepa_wm.dynamics.lewm import LeWMDynamics
from jepa_wm.encoders.frames import PooledFrames
from jepa_wm.encoders.layouts import vit
from jepa_wm.encoders.pooling import ProjectedPool
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.renaming import renamed
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State
from jepa_wm.errors import UserError

TABLE = (
    (r"^(encoder|projector)\.", None),
    (r"^predictor\.pos_embedding$", "place"),
    (r"^predictor\.transformer\.norm\.", "norm."),
    (r"^predictor\.transformer\.layers\.", "blocks."),
    (r"\.attn\.norm\.", ".attention_norm."),
    (r"\.attn\.to_qkv\.", ".qkv."),
    (r"\.attn\.to_out\.0\.", ".out."),
    (r"\.mlp\.net\.0\.", ".mlp_norm."),
    (r"\.mlp\.net\.1\.", ".rise."),
    (r"\.mlp\.net\.4\.", ".fall."),
    (r"\.adaLN_modulation\.1\.", ".modulation."),
    (r"^pred_proj\.net\.", "project."),
    (r"^action_encoder\.embed\.", "actions.embed."),
)


def recognises(state: State) -> bool:
    """Whether this is LeWM: blocks under AdaLN, and a projection behind encoder and predictor."""
    block = "predictor.transformer.layers.0.adaLN_modulation.1.weight"
    return {"encoder.embeddings.cls_token", "projector.net.0.weight", "pred_proj.net.0.weight", block} <= state.keys()


def convert(state: State, told: Told) -> Parts:
    """LeWM's parts with these weights.

    Raises:
        UserError: if names or shapes do not fit, or what is said does not.
    """
    told.refuse_encoder()
    config = told.says("predictor")
    block = state["action_encoder.patch_embed.weight"].shape[1]
    heads = told.attention(state["predictor.transformer.layers.0.attn.to_out.0.weight"].shape[1])
    dynamics = predictor(state, told.steps(block)[0], heads, config.get("dropout", 0.1))
    return Parts(encoder(state, told.says("encoder"), told.size), PooledFrames(), dynamics)


def encoder(state: State, config: dict[str, Any], size: int | None = None) -> ViT:
    """LeWM's encoder with the weights of a published state.

    Args:
        state: tensors by their published names; what is the predictor's is left alone.
        config: of the ViT, as its `config.json` has it.
        size: side of the pictures in pixels; that which it was trained at if none is given.

    Raises:
        UserError: if names or shapes do not fit.
    """
    own = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    own |= {name.replace("projector.", "pool.", 1): value for name, value in state.items() if name[:9] == "projector"}
    hidden, width = len(state["projector.net.0.bias"]), len(state["projector.net.3.bias"])
    found = vit.convert(own, config | {"pooling": ProjectedPool(width, hidden)})
    found.expect(Preprocessing(size or found.preprocessing.size, interpolation="bilinear"))
    return found


def predictor(state: State, action_dim: int, heads: int, dropout: float = 0.1) -> LeWMDynamics:
    """LeWM's predictor with the weights of a published state.

    Its action encoder begins with a convolution over one step, which is linear and here part of the layer behind it.

    Args:
        state: tensors by their published names; what is the encoder's is left alone.
        action_dim: A of one environment step.
        heads: attention heads, which weights do not tell.
        dropout: for training on.

    Raises:
        UserError: if names or shapes do not fit.
    """
    found = renamed(state, TABLE)
    try:
        kernel, bias = found.pop("action_encoder.patch_embed.weight"), found.pop("action_encoder.patch_embed.bias")
        first = found["actions.embed.0.weight"]
        found["actions.embed.0.bias"] = found["actions.embed.0.bias"] + first @ bias
        found["actions.embed.0.weight"] = first @ kernel[:, :, 0]
        found["place"] = found["place"][0]
        (window, width), block = found["place"].shape, kernel.shape[1]
        hidden, inner = len(found["blocks.0.rise.bias"]), found["blocks.0.out.weight"].shape[1]
    except KeyError as error:
        raise UserError(f"these weights do not fit the LeWM layout: {error} is missing") from None
    if block % action_dim or inner % heads:
        raise UserError(
            f"LeWM's blocks of actions have {block} numbers and its heads {inner} channels; got an action_dim of "
            f"{action_dim} and {heads} heads, which do not divide them"
        )
    depth = blocks(found)
    made = LeWMDynamics(width, action_dim, block // action_dim, depth, heads, inner // heads, hidden, window, dropout)
    return filled(found, "LeWM", made)
