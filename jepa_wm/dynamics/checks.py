"""What predictors refuse, in the words of all of them."""

from torch import Tensor, nn

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
