"""V-JEPA 2-AC: encoder and predictor as facebookresearch/vjepa2 names them, and the predictors of jepa-wms.

Source: facebookresearch/vjepa2 (arXiv 2506.09985); facebookresearch/jepa-wms (arXiv 2512.24497), whose files have no
encoder, and one of which has no states. Their video encoder sees each frame twice over, as two frames of a clip, which
is what our `ViT` does with an image.
"""

import torch

from jepa_wm.contracts import Encoder
from jepa_wm.dynamics.blocks import Trunk
from jepa_wm.dynamics.layouts import Parts, Told, blocks, filled
from jepa_wm.dynamics.vjepa2_ac import VJepa2ACDynamics
from jepa_wm.encoders.frames import Frames, PatchFrames, StateToken
from jepa_wm.encoders.layouts import convert as convert_encoder
from jepa_wm.encoders.load import load_encoder
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.renaming import renamed
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State, unwrapped
from jepa_wm.errors import UserError

ENCODER = "hf:facebook/vjepa2-vitg-fpc64-256"
"""Whose latents the files without an encoder were trained on."""
SIZE = 256
POSE = 7

BLOCKS = (
    (r"^predictor_embed\.", "enter."),
    (r"^predictor_blocks\.", "blocks."),
    (r"^predictor_norm\.", "norm."),
    (r"^predictor_proj\.", "leave."),
    (r"^action_encoder\.", "actions.embed."),
    (r"\.norm1\.", ".norms.0."),
    (r"\.norm2\.", ".norms.1."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.mlp\.fc1\.", ".rise."),
    (r"\.mlp\.fc2\.", ".fall."),
)
"""What these predictors and JEPA-WM's have in common."""
TABLE = ((r"^extrinsics_encoder\.", None), (r"^(state|proprio)_encoder\.", "feel."), *BLOCKS)


def recognises(state: State) -> bool:
    """Whether this is V-JEPA 2-AC: a predictor that embeds actions, and has blocks with norms of their own."""
    names = {"predictor_embed.weight", "action_encoder.weight", "predictor_blocks.0.norm1.weight"}
    found = part(state, "predictor")
    return names <= found.keys() and "predictor_blocks.0.adaLN_modulation.1.weight" not in found


def convert(state: State, told: Told) -> Parts:
    """V-JEPA 2-AC's parts with these weights.

    Raises:
        UserError: if names or shapes do not fit, or what is said does not.
    """
    own, given = part(state, "encoder"), told.encoder or ENCODER
    if own:
        told.refuse_encoder()
        given = convert_encoder(own, told.says("encoder"), "the encoder")[0]
    encoder = expecting(given, told, SIZE)
    dynamics = predictor(part(state, "predictor"), side(encoder), told.heads or 16)
    if told.action_dim not in (None, dynamics.action_dim):
        raise UserError(f"its actions have {dynamics.action_dim} numbers; got an action_dim of {told.action_dim}")
    frames: Frames = PatchFrames(normalise=True)
    if dynamics.state != "none":
        frames = StateToken(frames, dynamics.action_dim)
    return Parts(encoder, frames, dynamics)


def predictor(state: State, grid: tuple[int, int], heads: int = 16) -> VJepa2ACDynamics:
    """V-JEPA 2-AC's predictor with the weights of a published state; theirs are of cameras, too, and never used.

    Args:
        state: tensors by their published names.
        grid: tokens of a frame in height and width, which weights do not tell.
        heads: attention heads, which they do not tell, either.

    Raises:
        UserError: if names or shapes do not fit.
    """
    found = renamed(state, TABLE)
    latent_dim, actions = found["enter.weight"].shape[1], found["actions.embed.weight"].shape[1]
    follows = "none" if "feel.weight" not in found else "pose" if actions == POSE else "sum"
    made = VJepa2ACDynamics(latent_dim, grid, actions, 1, trunk(found, heads), state=follows)  # type: ignore[arg-type]
    return filled(found, "V-JEPA 2-AC", made)


def expecting(given: Encoder | str, told: Told, size: int) -> Encoder:
    """The frozen encoder, for the middle of pictures in the size that is told, or else in this one.

    Raises:
        UserError: if a size is told, and the encoder keeps its own.
    """
    encoder = load_encoder(given) if isinstance(given, str) else given
    if isinstance(encoder, ViT):
        old = encoder.preprocessing
        encoder.expect(Preprocessing(told.size or size, 1.0, "bilinear", old.mean, old.std))  # type: ignore[arg-type]
    elif told.size:
        raise UserError(
            f"its encoder is a {type(encoder).__name__}, which keeps its size of pictures; got size={told.size}, "
            "expected none: leave it out"
        )
    return encoder


def side(encoder: Encoder) -> tuple[int, int]:
    """The grid of a frame of the encoder's own size."""
    picture = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    return encoder.grid_of(encoder.preprocessing(picture))[1:]


def part(state: State, name: str) -> State:
    """What is in a part of a checkpoint, without what wraps it there."""
    start = f"{name}."
    return unwrapped({key.removeprefix(start): value for key, value in state.items() if key.startswith(start)})


def trunk(found: State, heads: int) -> Trunk:
    """The size of a renamed predictor's blocks.

    Raises:
        UserError: if the heads do not share out its width.
    """
    width, hidden = len(found["actions.embed.weight"]), len(found["blocks.0.rise.bias"])
    return Trunk(width, blocks(found), heads, hidden=hidden, eps=1e-6)
