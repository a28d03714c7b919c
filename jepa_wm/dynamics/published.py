"""What layouts of published world models have in common: names of the same blocks, and what stands around them."""

import torch

from jepa_wm.contracts import Encoder
from jepa_wm.dynamics.blocks import Trunk
from jepa_wm.dynamics.layouts import Told, blocks, filled
from jepa_wm.encoders.frames import Frames, StateFrames
from jepa_wm.encoders.load import load_encoder
from jepa_wm.encoders.positions import Learned
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import State, unwrapped
from jepa_wm.errors import UserError

NAMES = {384: "small", 768: "base", 1024: "large"}
"""DINOv2 by width."""
HEADS = 16
"""Of all published predictors of V-JEPA 2-AC and JEPA-WM, however wide."""
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
"""Of the predictors of V-JEPA 2-AC and JEPA-WM."""


def part(state: State, name: str) -> State:
    """What is in a part of a checkpoint, without what wraps it there."""
    start = f"{name}."
    return unwrapped({key.removeprefix(start): value for key, value in state.items() if key.startswith(start)})


def side(encoder: Encoder) -> tuple[int, int]:
    """The grid of a frame of the encoder's own size."""
    picture = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    return encoder.grid_of(encoder.preprocessing(picture))[1:]


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


def fitting(given: Encoder | str | None, width: int) -> ViT:
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


def trunk(found: State, heads: int) -> Trunk:
    """The size of a renamed predictor's blocks.

    Raises:
        UserError: if the heads do not share out its width.
    """
    width, hidden = len(found["actions.embed.weight"]), len(found["blocks.0.rise.bias"])
    return Trunk(width, blocks(found), heads, hidden=hidden, eps=1e-6)
