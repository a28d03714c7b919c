"""A frame-causal transformer that predicts the next frame's latents under an action."""

import torch
from torch import Tensor, nn

from jepa_wm.dynamics.actions import ActionEncoder
from jepa_wm.dynamics.blocks import PredictorBlock, Trunk
from jepa_wm.dynamics.cached import CachedDynamics, Caches, through
from jepa_wm.dynamics.checks import check_tokens, check_window
from jepa_wm.dynamics.conditioning import Entrance, Felt, Kind
from jepa_wm.dynamics.positions import FrameTable, TimeRope, check_time, rotation_of
from jepa_wm.encoders.linear import Linear
from jepa_wm.encoders.positions import Positions


class TransformerDynamics(CachedDynamics):
    """Predict z[t+1] from z[t-window+1 .. t] and a[t-window+1 .. t] with a KV cache over frames.

    Time enters by rotations, of which only distances count, or by what is added to each frame, counted from the first
    that was seen: either way a frame keeps its place, and a cache stays valid for ever. Places within a frame enter by
    a learned table, and by `positions` too where they tell them.

    Args:
        latent_dim: width D of the latents.
        grid: tokens of a frame in height and width; N is their product.
        action_dim: A of one environment step.
        frame_skip: environment steps between two latents.
        trunk: width, depth and heads of its blocks, and what published predictors differ in beside them.
        window: frames a frame sees, itself among them; 1 is a Markov model.
        conditioning: how actions enter: "adaln", "features" or "token".
        residual: predict what is added to z[t], nothing at first, instead of z[t+1] itself.
        positions: where tokens stand in time, and in space too: `TimeRope` if none are given, `Rope`, `SinCos` of three
            axes, or `Learned`, whose grid says how many frames there may be, seen and imagined ones together.
        discrete: actions are one-hot vectors.
        felt: which channels of the latents are the embedded state (`StateFrames`), and how it enters, where it is not
            to enter as the other channels do. It is predicted, and fed back, as all of a latent is.

    Raises:
        UserError: if an argument is out of range, or `positions` are the same in all frames; by `read`, if a learned
            table ends.

    Source: LeWM (arXiv 2603.19312), DINO-WM (arXiv 2411.04983), JEPA-WM (arXiv 2512.24497), V-JEPA 2-AC (arXiv
    2506.09985). They read their window anew at every step; here each frame is read once, so that beyond the window
    a frame's keys still tell of frames before it.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        grid: tuple[int, int] = (1, 1),
        action_dim: int = 2,
        frame_skip: int = 5,
        trunk: Trunk | None = None,
        window: int = 2,
        conditioning: Kind = "adaln",
        residual: bool = True,
        positions: Positions | None = None,
        discrete: bool = False,
        felt: Felt | None = None,
    ) -> None:
        super().__init__()
        trunk, positions = trunk or Trunk(), positions or TimeRope()
        self.latent_dim, self.action_dim, self.frame_skip = latent_dim, action_dim, frame_skip
        self.grid = (grid[0], grid[1])
        self.trunk, self.window, self.conditioning, self.residual = trunk, window, conditioning, residual
        self.positions, self.discrete, self.felt = positions, discrete, felt
        check_window(self, window)
        check_time(self, positions, trunk.width, trunk.head_dim)
        width = trunk.width
        self.actions = ActionEncoder(action_dim, frame_skip, width, width, discrete)
        self.enter = Entrance(latent_dim, width, conditioning, felt)
        self.place = nn.Parameter(0.02 * torch.randn(self.tokens + self.enter.extra, width))
        self.table = FrameTable(positions, self.grid, self.enter.extra, width)
        self.blocks = nn.ModuleList(PredictorBlock(trunk, window, self.enter.condition) for _ in range(trunk.depth))
        self.norm = nn.LayerNorm(width, trunk.eps)
        self.leave = Linear(width, latent_dim)
        if residual:
            nn.init.zeros_(self.leave.weight)
            nn.init.zeros_(self.leave.bias)

    @property
    def tokens(self) -> int:
        """Tokens N of a frame."""
        return self.grid[0] * self.grid[1]

    def read(self, latents: Tensor, actions: Tensor, frame: int, caches: Caches) -> tuple[Tensor, Caches]:
        """See `CachedDynamics`."""
        check_tokens(self, latents, self.tokens)
        entered, condition = self.enter(latents, self.actions(actions))
        frames = range(frame, frame + latents.shape[1])
        x = self.table(entered + self.place, frames)
        rotation = rotation_of(self.positions, self.grid, frames, self.enter.extra, self.trunk.head_dim, x.device)
        x, caches = through(self.blocks, x, condition, rotation, caches)
        change = self.leave(self.norm(x[:, :, : self.tokens]))
        return latents + change if self.residual else change, caches
