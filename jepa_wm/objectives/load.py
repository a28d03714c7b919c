"""Published predictors of I-JEPA and V-JEPA, to go on training from."""

from pathlib import Path
from typing import Any

import torch

from jepa_wm.encoders.hub import hub_folder
from jepa_wm.encoders.positions import Rope
from jepa_wm.encoders.renaming import depth, fused, renamed
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State, is_state, read_folder, read_weights, unwrapped
from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.objectives.predictor import MaskPredictor, PredictorOptions

RAW = (
    (r"^predictor_pos_embed$", None),
    (r"^predictor_embed\.", "enter."),
    (r"^predictor_blocks\.", "blocks."),
    (r"^predictor_norm\.", "norm."),
    (r"^predictor_proj\.", "leave."),
    (r"^predictor_proj_context\.", "leave_context."),
)
HUGGING_FACE = (
    (r"^embeddings\.predictor_embeddings\.", "enter."),
    (r"^embeddings\.mask_tokens$", "mask_tokens"),
    (r"^layer\.", "blocks."),
    (r"\.attention\.([qkv])(?:uery|ey|alue)\.", r".attn.\1."),
    (r"\.attention\.proj\.", ".attn.proj."),
    (r"^layernorm\.", "norm."),
    (r"^proj\.", "leave."),
)
V_JEPA_2_HEADS = 12


def load_predictor(source: str, encoder: ViT, heads: int | None = None) -> MaskPredictor:
    """The predictor of a published checkpoint, for the encoder that was loaded from it.

    To go on training, load the encoder with `part="context"`, build `MaskedLatentPrediction` on it, and set its
    `teacher` (the encoder with `part="target"`, without gradients) and its `predictor`.

    Args:
        source: a raw checkpoint of I-JEPA or V-JEPA, or `hf:…` for Hugging Face's V-JEPA 2.
        encoder: the encoder whose tokens it reads.
        heads: attention heads; unsaid 12 for V-JEPA 2, and as many as the encoder's for I-JEPA and V-JEPA 1.

    Raises:
        UserError: if there is none, or it does not fit the encoder: those of V-JEPA 2.1's distilled encoders predict
            tokens of another teacher's width.

    Of several mask tokens the first is taken, the one that V-JEPA 2's training code uses.
    """
    if source.startswith("hf:"):
        state, published = _from_hub(source.removeprefix("hf:"))
    else:
        checkpoint = read_weights(Path(source))
        if not isinstance(checkpoint, dict) or not is_state(checkpoint.get("predictor")):
            held = f"; it holds {', '.join(map(str, checkpoint))}" if isinstance(checkpoint, dict) else ""
            raise UserError(f"{source} holds no predictor{held}")
        state = renamed(unwrapped(checkpoint["predictor"]), RAW)
        published = V_JEPA_2_HEADS if isinstance(encoder.positions, Rope) else encoder.heads
    state = _tokens(state)
    width = len(state["mask_token"])
    options = PredictorOptions(width, depth(state), heads or published)
    predictor = MaskPredictor(encoder, options, context="leave_context.weight" in state)
    try:
        predictor.to(state["mask_token"].dtype).load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{source}: its predictor does not fit this encoder: {error}") from error
    return predictor


def _from_hub(name: str) -> tuple[State, int]:
    folder = hub_folder(name)
    config: dict[str, Any] = read_json(folder / "config.json")
    state = {
        name.removeprefix("predictor."): value
        for name, value in unwrapped(read_folder(folder)).items()
        if name.startswith("predictor.")
    }
    if not state:
        raise UserError(f"{folder} holds no predictor; expected weights named predictor.…, as V-JEPA 2's have")
    return fused(renamed(state, HUGGING_FACE)), config.get("pred_num_attention_heads", V_JEPA_2_HEADS)


def _tokens(state: State) -> State:
    """Of several mask tokens the first; those of images and clips together."""
    tokens = sorted(name for name in state if name.startswith("mask_token"))
    first = state[tokens[0]].flatten()[: state[tokens[0]].shape[-1]]
    found = {name: value for name, value in state.items() if name not in tokens}
    if "img_mod_embed" in found:
        both = [found.pop(f"{kind}_mod_embed") for kind in ("img", "video")]
        found["modality"] = torch.cat(both, dim=1)[0]
    return found | {"mask_token": first}
