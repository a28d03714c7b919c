"""JEPA-WM's predictor, as it was published: for its released weights, and to be compared with."""

import torch
from torch import Tensor, nn

from jepa_wm.dynamics.actions import ActionEncoder
from jepa_wm.dynamics.blocks import PredictorBlock, Trunk
from jepa_wm.dynamics.cached import through
from jepa_wm.dynamics.checks import check_tokens, check_window
from jepa_wm.dynamics.positions import rotation_of
from jepa_wm.dynamics.window import WindowDynamics
from jepa_wm.encoders.linear import Linear
from jepa_wm.encoders.positions import Rope
from jepa_wm.errors import UserError


class JepaWMDynamics(WindowDynamics):
    """Predict the patches of the next frame, and what the agent feels then, with AdaLN and rotations in space and time.

    Args:
        latent_dim: width D of the latents.
        grid: tokens of a frame in height and width; N is their product.
        action_dim: A of one environment step.
        frame_skip: environment steps between two latents.
        trunk: size of the blocks; the published one, with `state_width` in its width, if none is given.
        window: frames that are read: 3 in the published training, 2 in its planning.
        state_width: channels of the latents, the last ones, that are an embedded state (`StateFrames`): they enter
            the blocks and leave them as they are.
        discrete: actions are one-hot vectors.

    Raises:
        UserError: if there is no window, or the state leaves no room for anything else.

    Source: JEPA-WM (arXiv 2512.24497), official code. Its blocks' norms have weights of their own before the action
    shifts and scales, which are part of the modulation here, the same function; it begins with a modulation of
    random weights, here with none (AdaLN-zero, which its paper compares, too).
    """

    def __init__(
        self,
        latent_dim: int = 384,
        grid: tuple[int, int] = (16, 16),
        action_dim: int = 2,
        frame_skip: int = 5,
        trunk: Trunk | None = None,
        window: int = 3,
        state_width: int = 0,
        discrete: bool = False,
    ) -> None:
        super().__init__()
        trunk = trunk or Trunk(384 + state_width, 6, 16, eps=1e-6)
        self.latent_dim, self.grid = latent_dim, (grid[0], grid[1])
        self.action_dim, self.frame_skip = action_dim, frame_skip
        self.trunk, self.window, self.state_width, self.discrete = trunk, window, state_width, discrete
        check_window(self, window)
        if not 0 <= state_width < min(latent_dim, trunk.width):
            raise UserError(
                f"JepaWMDynamics.state_width: got {state_width}; expected fewer than the {latent_dim} channels of the "
                f"latents and the {trunk.width} of the trunk, which hold the state's and others"
            )
        self.positions = Rope(tiled=True)
        self.actions = ActionEncoder(action_dim, frame_skip, trunk.width, None, discrete)
        self.enter = Linear(latent_dim - state_width, trunk.width - state_width)
        self.blocks = nn.ModuleList(PredictorBlock(trunk, window, trunk.width) for _ in range(trunk.depth))
        self.norm = nn.LayerNorm(trunk.width, trunk.eps)
        self.leave = Linear(trunk.width - state_width, latent_dim - state_width)

    def read(self, latents: Tensor, actions: Tensor) -> Tensor:
        """See `WindowDynamics`."""
        check_tokens(self, latents, self.grid[0] * self.grid[1])
        frames = range(latents.shape[1])
        rotation = rotation_of(self.positions, self.grid, frames, 0, self.trunk.head_dim, latents.device)
        x, condition = self._beside(self.enter, latents), self.actions(actions)
        x = through(self.blocks, x, condition, rotation, (None,) * self.trunk.depth)[0]
        return self._beside(self.leave, self.norm(x))

    def _beside(self, layer: nn.Module, x: Tensor) -> Tensor:
        """A layer on all channels (B, T, N, C) but those of the state, which stay as they are."""
        seen, felt = x.split([x.shape[-1] - self.state_width, self.state_width], dim=-1)
        done = layer(seen.flatten(1, 2)).unflatten(1, x.shape[1:3])
        return torch.cat([done, felt], dim=-1)
