"""DINO-WM: predictor, and the embeddings of actions and of the state, as its code names them.

Source: gaoyuezhou/dino_wm (arXiv 2411.04983). Its checkpoints are whole pickled modules, without the frozen DINOv2,
which it takes from torch.hub and gives pictures in colours from -1 to 1, 14 pixels for each 16 of the data's 224.
facebookresearch/jepa-wms (arXiv 2512.24497) trains the same on pictures of 224 pixels, robots' without states.
"""

from jepa_wm.dynamics.dino_wm import DinoWMDynamics
from jepa_wm.dynamics.layouts import Parts, Told, blocks, filled
from jepa_wm.dynamics.published import fitting, part, states
from jepa_wm.encoders.frames import PatchFrames, StateFrames
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.renaming import renamed
from jepa_wm.encoders.weights import State
from jepa_wm.errors import UserError

TABLE = (
    (r"^(?!predictor\.|action_encoder\.)", None),
    (r"^predictor\.transformer\.layers\.\d+\.0\.bias$", None),  # the mask, a buffer of jepa-wms
    (r"^predictor\.pos_embedding$", "place"),
    (r"^predictor\.transformer\.norm\.", "norm."),
    (r"^predictor\.transformer\.layers\.(\d+)\.0\.norm\.", r"blocks.\1.attention_norm."),
    (r"^predictor\.transformer\.layers\.(\d+)\.0\.to_qkv\.", r"blocks.\1.qkv."),
    (r"^predictor\.transformer\.layers\.(\d+)\.0\.to_out\.0\.", r"blocks.\1.out."),
    (r"^predictor\.transformer\.layers\.(\d+)\.1\.net\.0\.", r"blocks.\1.mlp_norm."),
    (r"^predictor\.transformer\.layers\.(\d+)\.1\.net\.1\.", r"blocks.\1.rise."),
    (r"^predictor\.transformer\.layers\.(\d+)\.1\.net\.4\.", r"blocks.\1.fall."),
    (r"^action_encoder\.patch_embed\.", "actions.embed."),
)
HALVES = (0.5, 0.5, 0.5)
JEPA_WMS = 4 * 16**2
"""Positions in the models of jepa-wms: of four frames at 224 pixels, where DINO-WM's are of 196 pixels."""
WINDOW = 2
"""Frames that the planning of jepa-wms reads, the first two's positions; DINO-WM's reads all that it has."""


def recognises(state: State) -> bool:
    """Whether this is DINO-WM: attention and MLP in pairs, and an embedding of actions."""
    names = {"predictor.pos_embedding", "predictor.transformer.layers.0.0.to_qkv.weight"}
    return names | {"action_encoder.patch_embed.weight"} <= state.keys()


def convert(state: State, told: Told) -> Parts:
    """DINO-WM's parts with these weights, and DINOv2.

    Raises:
        UserError: if names, shapes, or the encoder do not fit.
    """
    frames = states(part(state, "proprio_encoder"), PatchFrames())
    embedded, block = state["action_encoder.patch_embed.weight"].shape[:2]
    rows, width = state["predictor.pos_embedding"].shape[1:]
    side, window = (16, WINDOW) if rows == JEPA_WMS else (14, None)
    found = fitting(told.encoder, width - embedded - (frames.width if isinstance(frames, StateFrames) else 0))
    size = told.size or side * found.patch
    found.expect(Preprocessing(size, 1.0, "bilinear", HALVES, HALVES))
    told = told if frames.state_dim else told.of_robots(block)
    heads = told.attention(state["predictor.transformer.layers.0.0.to_out.0.weight"].shape[1])
    dynamics = predictor(state, (size // found.patch) ** 2, told.steps(block)[0], heads, window)
    return Parts(found, frames, dynamics)


def predictor(
    state: State, tokens: int, action_dim: int, heads: int, window: int | None = None, dropout: float = 0.1
) -> DinoWMDynamics:
    """DINO-WM's predictor with the weights of a published state.

    Args:
        state: tensors by their published names; what is the state's and the decoder's is left alone.
        tokens: of a frame, which weights do not tell.
        action_dim: A of one environment step.
        heads: attention heads, which weights do not tell.
        window: frames that are read; all that it has positions for if none is given.
        dropout: for training on.

    Raises:
        UserError: if names or shapes do not fit.
    """
    found = renamed(state, TABLE)
    found["actions.embed.weight"] = found["actions.embed.weight"][:, :, 0]
    (embedded, block), (rows, width) = found["actions.embed.weight"].shape, found["place"].shape[1:]
    hidden, inner = len(found["blocks.0.rise.bias"]), found["blocks.0.out.weight"].shape[1]
    if rows % tokens or inner % heads or block % action_dim:
        raise UserError(
            f"its positions are of {rows} tokens, its heads have {inner} channels and its blocks of actions {block} "
            f"numbers; got {tokens} tokens a frame, {heads} heads and an action_dim of {action_dim}, not divisors all"
        )
    found["place"] = found["place"].unflatten(1, (-1, tokens))[0, :window]
    latent_dim, skip = width - embedded, block // action_dim
    size = (blocks(found), heads, inner // heads, hidden, len(found["place"]))
    made = DinoWMDynamics(latent_dim, tokens, action_dim, skip, embedded, *size, dropout)
    return filled(found, "DINO-WM", made)
