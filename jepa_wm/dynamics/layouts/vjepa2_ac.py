"""V-JEPA 2-AC: encoder and predictor as facebookresearch/vjepa2 names them, and the predictors of jepa-wms.

Source: facebookresearch/vjepa2 (arXiv 2506.09985); facebookresearch/jepa-wms (arXiv 2512.24497), whose files have no
encoder, and one of which has no states. Their video encoder sees each frame twice over, as two frames of a clip, which
is what our `ViT` does with an image.
"""

from jepa_wm.dynamics.layouts import Parts, Told, filled
from jepa_wm.dynamics.published import BLOCKS, HEADS, expecting, part, side, trunk
from jepa_wm.dynamics.vjepa2_ac import VJepa2ACDynamics
from jepa_wm.encoders.frames import Frames, PatchFrames, StateToken
from jepa_wm.encoders.layouts import convert as convert_encoder
from jepa_wm.encoders.renaming import renamed
from jepa_wm.encoders.weights import State
from jepa_wm.errors import UserError

ENCODER = "hf:facebook/vjepa2-vitg-fpc64-256"
"""Whose latents the files without an encoder were trained on."""
SIZE = 256
POSE = 7

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
    named = part(state, "predictor")
    dynamics = predictor(named, side(encoder), told.attention(len(named["action_encoder.weight"]), HEADS))
    if told.action_dim not in (None, dynamics.action_dim):
        raise UserError(f"its actions have {dynamics.action_dim} numbers; got an action_dim of {told.action_dim}")
    frames: Frames = PatchFrames(normalise=True)
    if dynamics.state != "none":
        frames = StateToken(frames, dynamics.action_dim)
    return Parts(encoder, frames, dynamics)


def predictor(state: State, grid: tuple[int, int], heads: int) -> VJepa2ACDynamics:
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
