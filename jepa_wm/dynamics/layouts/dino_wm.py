"""DINO-WM: predictor, and the embeddings of actions and of the state, as its code names them.

Source: gaoyuezhou/dino_wm (arXiv 2411.04983). Its checkpoints are whole pickled modules, without the frozen DINOv2,
which it takes from torch.hub and gives pictures in colours from -1 to 1, 14 pixels for each 16 of the data's 224.
facebookresearch/jepa-wms (arXiv 2512.24497) trains the same on pictures of 224 pixels, robots' without states.
"""

import torch

from jepa_wm.contracts import Encoder
from jepa_wm.dynamics.dino_wm import DinoWMDynamics
from jepa_wm.dynamics.layouts import Parts, Told, blocks, filled
from jepa_wm.dynamics.layouts.vjepa2_ac import part
from jepa_wm.encoders.frames import Frames, PatchFrames, StateFrames
from jepa_wm.encoders.load import load_encoder
from jepa_wm.encoders.positions import Learned
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.renaming import renamed
from jepa_wm.encoders.vit import ViT
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
NAMES = {384: "small", 768: "base", 1024: "large"}
"""DINOv2 by width."""
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
    found = encoder(told.encoder, width - embedded - (frames.width if isinstance(frames, StateFrames) else 0))
    size = told.size or side * found.patch
    found.expect(Preprocessing(size, 1.0, "bilinear", HALVES, HALVES))
    told = told if frames.state_dim else told.of_robots(block)
    dynamics = predictor(state, (size // found.patch) ** 2, told.steps(block)[0], told.heads or 16, window)
    return Parts(found, frames, dynamics)


def states(felt: State, frames: Frames) -> Frames:
    """Frames with the proprioception beside them, embedded by a convolution over one frame, where there is any.

    Raises:
        UserError: if it is embedded otherwise.
    """
    if not felt:
        return frames
    kernel = felt.get("patch_embed.weight", torch.zeros(1, 1, 1))
    own = StateFrames(frames, kernel.shape[1], len(kernel))
    named = {name.replace("patch_embed.", "embed."): value for name, value in felt.items()}
    named |= {name: value[:, :, 0] for name, value in named.items() if value.ndim == 3 and value.shape[2] == 1}
    return filled(named, "ProprioceptiveEmbedding", own)


def encoder(given: Encoder | str | None, width: int) -> ViT:
    """The encoder that is given, or the DINOv2 whose tokens have this width.

    Raises:
        UserError: if there is none, or it does not fit.
    """
    found: Encoder | None
    if given is None and width in NAMES:
        found = load_encoder(f"hf:facebook/dinov2-{NAMES[width]}")
        assert isinstance(found, ViT) and isinstance(found.positions, Learned)
        found.positions.offset = 0.1  # as that of torch.hub, whose weights these are, resamples its positions
    else:
        found = load_encoder(given) if isinstance(given, str) else given
    if not isinstance(found, ViT) or found.dim != width:
        got = "none" if found is None else f"a {type(found).__name__} of width {found.dim}"
        raise UserError(
            f"its predictor reads tokens of width {width}; got {got} for an encoder, expected a ViT of that"
        )
    return found


def predictor(
    state: State, tokens: int, action_dim: int, heads: int = 16, window: int | None = None, dropout: float = 0.1
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
