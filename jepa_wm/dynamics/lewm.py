"""LeWM's predictor, as it was published: for its released weights, and to be compared with."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.dynamics.actions import ActionEncoder
from jepa_wm.dynamics.blocks import shifted
from jepa_wm.dynamics.checks import check_tokens, check_window
from jepa_wm.dynamics.plain import PlainBlock
from jepa_wm.dynamics.window import WindowDynamics, WindowState
from jepa_wm.encoders.batch_norm import BatchNorm
from jepa_wm.encoders.linear import Linear


class LeWMDynamics(WindowDynamics):
    """Predict z[t+1] from the latents and actions of a window, with learned positions in it and AdaLN-zero.

    Args:
        latent_dim: width D of the latents, one a frame.
        action_dim: A of one environment step.
        frame_skip: environment steps between two latents.
        depth: number of blocks.
        heads: attention heads of a block.
        head_dim: channels of a head.
        hidden: width of the MLPs.
        window: frames that are read.
        dropout: in each branch.
        discrete: actions are one-hot vectors.

    Raises:
        UserError: if there is no window.

    Source: LeWM (arXiv 2603.19312), official code; its actions are normalised here by what is saved with the model.
    """

    def __init__(
        self,
        latent_dim: int = 192,
        action_dim: int = 2,
        frame_skip: int = 5,
        depth: int = 6,
        heads: int = 16,
        head_dim: int = 64,
        hidden: int = 2048,
        window: int = 3,
        dropout: float = 0.1,
        discrete: bool = False,
    ) -> None:
        super().__init__()
        self.latent_dim, self.action_dim, self.frame_skip = latent_dim, action_dim, frame_skip
        self.depth, self.heads, self.head_dim, self.hidden = depth, heads, head_dim, hidden
        self.window, self.dropout, self.discrete = window, dropout, discrete
        check_window(self, window)
        self.actions = ActionEncoder(action_dim, frame_skip, latent_dim, 4 * latent_dim, discrete)
        _begin_behind_a_map(self.actions.embed[0])  # type: ignore[index]
        self.place = nn.Parameter(torch.randn(window, latent_dim))
        self.blocks = nn.ModuleList(LeWMBlock(latent_dim, heads, head_dim, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(latent_dim)
        self.project = nn.Sequential(
            Linear(latent_dim, hidden), BatchNorm(hidden), nn.GELU(), Linear(hidden, latent_dim)
        )

    def read(self, latents: Tensor, actions: Tensor) -> Tensor:
        """See `WindowDynamics`."""
        check_tokens(self, latents, 1)
        x, condition = latents[:, :, 0] + self.place[: latents.shape[1]], self.actions(actions)
        for block in self.blocks:
            x = block(x, condition)
        return self.project(self.norm(x).flatten(0, 1)).unflatten(0, x.shape[:2])[:, :, None]

    def future(self, state: WindowState, actions: Tensor, cut: bool = False) -> Tensor:
        """The latents (B, K, N, D) after each of the actions (B, K, A).

        Until the window is full each frame keeps its place in it, and is read once. The actions are known, and so is
        how they shift and scale the blocks: that is found once, too. Training drops out of every frame of a window, and
        its batch norm counts them all: there nothing is kept.
        """
        if cut or self.training:
            return super().future(state, actions, cut)
        condition = F.silu(self.actions(torch.cat([state.actions, actions], dim=1)))
        blocks: list[Any] = list(self.blocks)
        modulations = [block.modulation(condition) for block in blocks]
        seen = state.latents.shape[1]
        latents = list(state.latents[:, :, 0].unbind(dim=1))
        pasts: list[Tensor | None] = [None] * self.depth
        for stop in range(seen, seen + actions.shape[1]):
            first = max(stop - self.window, 0)
            new = first if first or stop == seen else stop - 1
            x = torch.stack(latents[new:], dim=1) + self.place[new - first : stop - first]
            for i, block in enumerate(blocks):
                past = None if new == first else pasts[i]
                x, pasts[i] = block.read(x, modulations[i][:, new:stop], past, newest=i == self.depth - 1)
            latents.append(self.project(self.norm(x[:, -1])).to(latents[0].dtype))
        return torch.stack(latents[seen:], dim=1)[:, :, None]


@torch.no_grad()
def _begin_behind_a_map(layer: nn.Linear) -> None:
    """Begin with the product of two linear maps: the official code has one more before this layer, here they are one.

    Actions weigh less at first than by a map alone, and short trainings from pixels come to tell far better where
    things are (docs/results.md).
    """
    before = nn.Linear(layer.in_features, layer.in_features)
    layer.bias.add_(layer.weight @ before.bias)
    layer.weight.copy_(layer.weight @ before.weight)


class LeWMBlock(PlainBlock):
    """A block whose branches normalise a second time, with weights, what the action has shifted and scaled."""

    def __init__(self, width: int, heads: int, head_dim: int, hidden: int, dropout: float) -> None:
        super().__init__(width, heads, head_dim, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6, elementwise_affine=False) for _ in range(2))
        self.modulation = Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Tokens x (B, T, W), one a frame, under condition (B, T, W)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(condition)).chunk(6, dim=-1)
        x = x + gate1 * self.attended(shifted(self.norms[0](x), shift1, scale1))
        return x + gate2 * self.mixed(shifted(self.norms[1](x), shift2, scale2))

    def read(self, x: Tensor, modulation: Tensor, past: Tensor | None, newest: bool) -> tuple[Tensor, Tensor]:
        """The same of new tokens x (B, T, W) behind those whose keys and values are in the past.

        Args:
            x: the new tokens.
            modulation: of each (B, T, 6 W).
            past: keys and values (2, B, heads, t, d); None at the start of a window.
            newest: whether what becomes of the last token is all that is asked for.

        Returns:
            What becomes of them (B, T or 1, W), and the past with them in it.
        """
        shift1, scale1 = modulation.chunk(6, dim=-1)[:2]
        attended, past = self.recalled(shifted(self.norms[0](x), shift1, scale1), past, newest)
        kept = attended.shape[1]
        x, (gate1, shift2, scale2, gate2) = x[:, -kept:], modulation[:, -kept:].chunk(6, dim=-1)[2:]
        x = x + gate1 * attended
        return x + gate2 * self.mixed(shifted(self.norms[1](x), shift2, scale2)), past
