"""DINO-WM: predictor, and the embeddings of actions and of the state, as its code names them.

Source: gaoyuezhou/dino_wm (arXiv 2411.04983). Its checkpoints are whole pickled modules, without the frozen DINOv2,
which it takes from torch.hub and gives pictures in colours from -1 to 1, 14 pixels for each 16 of the data's 224.
"""

from jepa_wm.contracts import Encoder
from jepa_wm.dynamics.dino_wm import DinoWMDynamics
from jepa_wm.dynamics.layouts import Parts, Told, blocks, filled
from jepa_wm.encoders.frames import PatchFrames, StateFrames
from jepa_wm.encoders.load import load_encoder
from jepa_wm.encoders.positions import Learned
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.renaming import renamed
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State
from jepa_wm.errors import UserError

TABLE = (
    (r"^(?!predictor\.|action_encoder\.)", None),
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


def recognises(state: State) -> bool:
    """Whether this is DINO-WM: attention and MLP in pairs, and both embeddings."""
    names = {"predictor.pos_embedding", "predictor.transformer.layers.0.0.to_qkv.weight"}
    return names | {f"{part}_encoder.patch_embed.weight" for part in ("action", "proprio")} <= state.keys()


def convert(state: State, told: Told) -> Parts:
    """DINO-WM's parts with these weights, and DINOv2.

    Raises:
        UserError: if names, shapes, or the encoder do not fit.
    """
    kernel = state["proprio_encoder.patch_embed.weight"][:, :, 0]
    frames = StateFrames(PatchFrames(), kernel.shape[1], kernel.shape[0])
    frames.embed.load_state_dict({"weight": kernel, "bias": state["proprio_encoder.patch_embed.bias"]})
    embedded, block = state["action_encoder.patch_embed.weight"].shape[:2]
    width = state["predictor.pos_embedding"].shape[-1] - embedded - len(kernel)
    found = encoder(told.encoder, width)
    size = told.size or 14 * found.patch
    found.expect(Preprocessing(size, 1.0, "bilinear", HALVES, HALVES))
    dynamics = predictor(state, (size // found.patch) ** 2, told.steps(block)[0], told.heads or 16)
    return Parts(found, frames, dynamics)


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


def predictor(state: State, tokens: int, action_dim: int, heads: int = 16, dropout: float = 0.1) -> DinoWMDynamics:
    """DINO-WM's predictor with the weights of a published state.

    Args:
        state: tensors by their published names; what is the state's and the decoder's is left alone.
        tokens: of a frame, which weights do not tell.
        action_dim: A of one environment step.
        heads: attention heads, which weights do not tell.
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
    found["place"] = found["place"].unflatten(1, (-1, tokens))[0]
    latent_dim, skip, window = width - embedded, block // action_dim, rows // tokens
    size = (blocks(found), heads, inner // heads, hidden, window)
    made = DinoWMDynamics(latent_dim, tokens, action_dim, skip, embedded, *size, dropout)
    return filled(found, "DINO-WM", made)
