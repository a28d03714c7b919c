"""How latents and actions enter a predictor."""

from typing import Literal

import torch
from torch import Tensor, nn

from jepa_wm.encoders.linear import Linear
from jepa_wm.errors import UserError

Kind = Literal["adaln", "features", "token"]
KINDS = ("adaln", "features", "token")


class Entrance(nn.Module):
    """Latents and embedded actions to tokens.

    Args:
        latent_dim: width D of the latents.
        action_width: width E of an embedded action.
        width: width W of the tokens.
        kind: where the action goes: "adaln" for nowhere here, but into the blocks' norms (LeWM, arXiv 2603.19312);
            "features" for the channels of each token (DINO-WM, arXiv 2411.04983); "token" for a token of its own,
            behind those of its frame (V-JEPA 2-AC, arXiv 2506.09985).

    Raises:
        UserError: if `kind` is none of these.
    """

    def __init__(self, latent_dim: int, action_width: int, width: int, kind: Kind = "adaln") -> None:
        super().__init__()
        if kind not in KINDS:
            raise UserError(f"conditioning '{kind}'; expected one of {', '.join(KINDS)}")
        self.latent_dim, self.action_width, self.width, self.kind = latent_dim, action_width, width, kind
        self.latent = Linear(latent_dim + (action_width if kind == "features" else 0), width)
        self.action = Linear(action_width, width) if kind == "token" else None

    @property
    def extra(self) -> int:
        """Tokens of a frame beyond those of its latents."""
        return int(self.action is not None)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Latents (B, T, N, D) and actions (B, T, E) -> tokens (B, T, N + extra, W)."""
        if self.kind == "features":
            beside = actions[:, :, None].expand(*latents.shape[:3], -1)
            latents = torch.cat([latents, beside.to(latents.dtype)], dim=-1)
        tokens = self.latent(latents.flatten(1, 2)).unflatten(1, latents.shape[1:3])
        if self.action is None:
            return tokens
        return torch.cat([tokens, self.action(actions)[:, :, None].to(tokens.dtype)], dim=2)
