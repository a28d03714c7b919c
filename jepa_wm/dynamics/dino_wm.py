"""DINO-WM's predictor, as it was published: for its released weights, and to be compared with."""

import torch
from torch import Tensor, nn

from jepa_wm.dynamics.actions import ActionEncoder
from jepa_wm.dynamics.checks import check_tokens, check_window
from jepa_wm.dynamics.plain import PlainBlock
from jepa_wm.dynamics.window import WindowDynamics


class DinoWMDynamics(WindowDynamics):
    """Predict the tokens of z[t+1] from those of a window, the action after each frame in channels of its own.

    Args:
        latent_dim: width D of the latents; with the state in them (`StateFrames`), it is predicted like the rest.
        tokens: tokens N of a frame.
        action_dim: A of one environment step.
        frame_skip: environment steps between two latents.
        action_width: channels that the embedded action takes.
        depth: number of blocks.
        heads: attention heads of a block.
        head_dim: channels of a head.
        hidden: width of the MLPs.
        window: frames that are read.
        dropout: of attention's weights, in each branch.
        discrete: actions are one-hot vectors.

    Raises:
        UserError: if there is no window.

    Source: DINO-WM (arXiv 2411.04983), official code, which predicts the action's channels too, and puts the next
    action in their place; here they are left out. Its code takes no part of them into its error either.
    """

    def __init__(
        self,
        latent_dim: int = 394,
        tokens: int = 196,
        action_dim: int = 2,
        frame_skip: int = 5,
        action_width: int = 10,
        depth: int = 6,
        heads: int = 16,
        head_dim: int = 64,
        hidden: int = 2048,
        window: int = 3,
        dropout: float = 0.1,
        discrete: bool = False,
    ) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.action_dim, self.frame_skip = latent_dim, tokens, action_dim, frame_skip
        self.action_width, self.depth, self.heads, self.head_dim = action_width, depth, heads, head_dim
        self.hidden, self.window, self.dropout, self.discrete = hidden, window, dropout, discrete
        check_window(self, window)
        self.actions = ActionEncoder(action_dim, frame_skip, action_width, None, discrete)
        width = latent_dim + action_width
        self.place = nn.Parameter(torch.randn(window, tokens, width))
        self.blocks = nn.ModuleList(PlainBlock(width, heads, head_dim, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def read(self, latents: Tensor, actions: Tensor) -> Tensor:
        """See `WindowDynamics`."""
        check_tokens(self, latents, self.tokens)
        beside = self.actions(actions)[:, :, None].expand(-1, -1, self.tokens, -1)
        x = (torch.cat([latents, beside], dim=-1) + self.place[: latents.shape[1]]).flatten(1, 2)
        frame = torch.arange(latents.shape[1], device=x.device).repeat_interleave(self.tokens)
        seen = frame[:, None] >= frame
        for block in self.blocks:
            x = block(x, seen)
        return self.norm(x)[..., : self.latent_dim].unflatten(1, latents.shape[1:3])
