"""Latents of a clip: from its frames, or as they were encoded before."""

from collections.abc import Sequence

from torch import Tensor, nn

from jepa_wm.checkpoint import fingerprint
from jepa_wm.contracts import Batch
from jepa_wm.encoders.frames import Frames
from jepa_wm.errors import UserError


def latents_of(batch: Batch, encoder: nn.Module, frames: Frames) -> Tensor:
    """The latents (B, T, N, D) of a batch of clips, which `jepa-wm encode` may have made."""
    if "latents" in batch:
        return batch["latents"]  # type: ignore[no-any-return]
    return frames(encoder, batch["pixels"], batch.get("state"))  # type: ignore[arg-type,no-any-return]


def check_encoded(encoded_by: Sequence[str], encoder: nn.Module, frames: Frames, asker: str) -> None:
    """Refuse latents of shards that another encoder made, or that are to be learned.

    Args:
        encoded_by: the fingerprints of what made them, none if frames are read.
        encoder: of the model.
        frames: how its frames become latents.
        asker: who asks, for errors.

    Raises:
        UserError: if a fingerprint differs, or the encoder learns.
    """
    if not encoded_by:
        return
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        raise UserError(
            f"{asker}: data.latents is true, but the encoder learns; expected one that stays as it is: set "
            "freeze_encoder to true, or data.latents to false"
        )
    if set(encoded_by) != {fingerprint([encoder, frames])}:
        raise UserError(
            f"{asker}: data.folder has no latents of this encoder and these frames; run `jepa-wm "
            "encode` with the run that training starts from"
        )
