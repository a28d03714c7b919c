"""How latents, embedded actions and what the agent feels enter a predictor."""

from typing import Literal

import torch
from torch import Tensor, nn

from jepa_wm.encoders.linear import Linear
from jepa_wm.errors import UserError

Kind = Literal["adaln", "features", "token"]
KINDS = ("adaln", "features", "token")


class Felt:
    """What the agent feels of itself: the last channels of the latents, as `StateFrames` puts them, and how they enter.

    Args:
        width: how many channels, the same in all tokens of a frame that was seen.
        conditioning: how they enter, as `Entrance` says of actions.

    Raises:
        UserError: if there are none, or they are to enter otherwise.
    """

    def __init__(self, width: int = 10, conditioning: Kind = "token") -> None:
        check_kind(conditioning, "Felt.")
        if width < 1:
            raise UserError(f"Felt.width: got {width}; expected a channel or more, as many as StateFrames adds")
        self.width, self.conditioning = width, conditioning


class Entrance(nn.Module):
    """Latents and embedded actions to tokens, and to what shifts and scales the blocks' norms.

    Args:
        latent_dim: width D of the latents.
        width: width W of the tokens, and of an embedded action.
        kind: where the action goes: "adaln" for the blocks' norms (LeWM, arXiv 2603.19312); "features" for the channels
            of each token (DINO-WM, arXiv 2411.04983); "token" for a token of its own, behind those of its frame (V-JEPA
            2-AC, arXiv 2506.09985).
        felt: what of the latents goes a way of its own; in "features", or where none is given, all channels are alike.

    Raises:
        UserError: if `kind` is none of these, or nothing is left of the latents beside what is felt.
    """

    def __init__(self, latent_dim: int, width: int, kind: Kind = "adaln", felt: Felt | None = None) -> None:
        super().__init__()
        check_kind(kind)
        self.latent_dim, self.width, self.kind, self.felt = latent_dim, width, kind, felt
        self.way = felt.conditioning if felt else "features"
        self.apart = felt.width if felt and felt.conditioning != "features" else 0
        if felt and felt.width >= latent_dim:
            raise UserError(f"Felt.width: got {felt.width}; expected fewer than the latents' {latent_dim} channels")
        self.latent = Linear(latent_dim - self.apart + (width if kind == "features" else 0), width)
        self.action = Linear(width, width) if kind == "token" else None
        self.feel = Linear(self.apart, width) if self.apart else None

    @property
    def extra(self) -> int:
        """Tokens of a frame beyond those of its latents."""
        return int(self.kind == "token") + int(self.way == "token")

    @property
    def condition(self) -> int | None:
        """Width of what shifts and scales the blocks' norms; None where nothing does."""
        return self.width if "adaln" in (self.kind, self.way) else None

    def forward(self, latents: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, T, N, D), actions (B, T, W) -> tokens (B, T, N + extra, W), and the condition (B, T, W).

        The tokens of a frame that was imagined may be at odds about what is felt: what enters is their mean.
        """
        seen, felt = latents.split([self.latent_dim - self.apart, self.apart], dim=-1)
        if self.kind == "features":
            beside = actions[:, :, None].expand(*latents.shape[:3], -1)
            seen = torch.cat([seen, beside.to(latents.dtype)], dim=-1)
        tokens, condition = [self.latent(seen.flatten(1, 2)).unflatten(1, latents.shape[1:3])], actions
        if self.action is not None:
            tokens.append(self.action(actions)[:, :, None])
        if self.feel is not None:
            entering = self.feel(felt.mean(dim=2))
            if self.way == "token":
                tokens.append(entering[:, :, None])
            else:
                condition = entering + actions if self.kind == "adaln" else entering
        if len(tokens) == 1:
            return tokens[0], condition
        return torch.cat([part.to(tokens[0].dtype) for part in tokens], dim=2), condition


def check_kind(kind: str, of: str = "") -> None:
    """Refuse a way of entering that there is not.

    Raises:
        UserError: if it is none of `KINDS`.
    """
    if kind not in KINDS:
        raise UserError(f"{of}conditioning '{kind}'; expected one of {', '.join(KINDS)}")
