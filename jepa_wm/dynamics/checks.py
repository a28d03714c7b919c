"""What predictors refuse, and what is put together with them, in the words of all of them."""

from collections.abc import Mapping

from torch import Tensor, nn

from jepa_wm.contracts import Dynamics, Encoder
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.encoders.frames import Frames
from jepa_wm.errors import UserError


def check_window(predictor: nn.Module, window: int) -> None:
    """Refuse a window without a frame.

    Raises:
        UserError: if there is none.
    """
    if window < 1:
        raise UserError(f"{type(predictor).__name__}.window: got {window}; expected a frame or more, itself among them")


def check_tokens(predictor: nn.Module, latents: Tensor, tokens: int) -> None:
    """Refuse latents (B, T, N, D) of another N, which might broadcast, or be cut to size.

    Raises:
        UserError: if N is not `tokens`.
    """
    if latents.shape[2] != tokens:
        raise UserError(
            f"{type(predictor).__name__}: got {latents.shape[2]} tokens a frame; expected {tokens}: do its size, the "
            "frames' kind and the pictures' size fit each other?"
        )


def check_width(owner: str, encoder: Encoder, frames: Frames, dynamics: Dynamics) -> None:
    """Refuse a dynamics for latents of another width than those that an encoder's frames become.

    Raises:
        UserError: if it is one.
    """
    width = frames.latent_dim(encoder)
    if width != dynamics.latent_dim:
        raise UserError(
            f"{owner}: the encoder's latents are {width} wide, the dynamics' latent_dim is {dynamics.latent_dim}; "
            f"expected the same: set latent_dim to {width}"
        )


def check_readers(owner: str, dynamics: Dynamics, parts: Mapping[str, nn.Module | None]) -> None:
    """Refuse parts, by name, that read latents of another width than a dynamics'.

    Raises:
        UserError: if one does.
    """
    for name, part in parts.items():
        if part is not None and part.latent_dim != dynamics.latent_dim:
            raise UserError(
                f"{owner}: '{name}' reads latents of width {part.latent_dim}; expected that of the dynamics, "
                f"{dynamics.latent_dim}"
            )


def check_bounds(owner: str, bounds: ActionBounds, dynamics: Dynamics) -> None:
    """Refuse bounds of other actions than a dynamics'.

    Raises:
        UserError: if they are of others.
    """
    given, own = ((part.action_dim, part.frame_skip) for part in (bounds, dynamics))
    if given != own:
        raise UserError(
            f"{owner}: got bounds with (action_dim, frame_skip) {given}; expected those of the dynamics, {own}"
        )
