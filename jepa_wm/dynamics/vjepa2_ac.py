"""V-JEPA 2-AC's predictor, as it was published, with a cache over frames."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.dynamics.actions import ActionEncoder
from jepa_wm.dynamics.blocks import PredictorBlock, Trunk
from jepa_wm.dynamics.cached import CachedDynamics, Caches, through
from jepa_wm.dynamics.checks import check_tokens, check_window
from jepa_wm.dynamics.poses import moved
from jepa_wm.dynamics.positions import rotation_of
from jepa_wm.encoders.linear import Linear
from jepa_wm.encoders.positions import Rope
from jepa_wm.errors import UserError
from jepa_wm.standard import Standard

STATES = ("pose", "sum", "none")


class VJepa2ACDynamics(CachedDynamics):
    """Predict the patches of the next frame from tokens of patches, state and action of those before.

    The state is the last token of a frame's latents (`StateToken`); as many of its first numbers are read as an action
    of one environment step has. The next ones are not predicted, but follow from the action; the others are 0.

    Args:
        latent_dim: width D of the latents.
        grid: tokens of a frame in height and width; N is their product, and one more of the state.
        action_dim: A of one environment step.
        frame_skip: environment steps between two latents.
        trunk: size of the blocks; the published one if none is given.
        window: frames a frame sees, itself among them.
        state: how the next one follows: "pose" is moved by the actions as a gripper's pose (`poses.moved`), to "sum"
            they are added; with "none" there is no such token.
        normalise: layer-normalise what is predicted, as `PatchFrames` does what is seen.
        reach: what an action of 1 is in the state's units.

    Raises:
        UserError: if `state` is none of these, a pose is not of 7 numbers, or there is no window.

    Source: V-JEPA 2-AC (arXiv 2506.09985), official code, and without states jepa-wms (arXiv 2512.24497). There
    actions and states are in metres and radians; here they are normalised by what is saved with the model.
    """

    def __init__(
        self,
        latent_dim: int = 1408,
        grid: tuple[int, int] = (16, 16),
        action_dim: int = 7,
        frame_skip: int = 1,
        trunk: Trunk | None = None,
        window: int = 32,
        state: Literal["pose", "sum", "none"] = "pose",
        normalise: bool = True,
        reach: float = 1.0,
    ) -> None:
        super().__init__()
        trunk = trunk or Trunk(1024, 24, 16, eps=1e-6)
        self.latent_dim, self.grid = latent_dim, (grid[0], grid[1])
        self.action_dim, self.frame_skip = action_dim, frame_skip
        self.trunk, self.window, self.state = trunk, window, state
        self.normalise, self.reach = normalise, reach
        check_window(self, window)
        if state not in STATES or (state == "pose" and action_dim != 7):
            raise UserError(
                f"VJepa2ACDynamics.state: got '{state}' with an action_dim of {action_dim}; expected one of "
                f"{', '.join(STATES)}, the first of actions of 7 numbers"
            )
        self.positions = Rope(tiled=True)
        self.actions = ActionEncoder(action_dim, frame_skip, trunk.width, None)
        self.standard = None if state == "none" else Standard(action_dim, "state")
        self.feel = None if state == "none" else nn.Linear(action_dim, trunk.width)
        self.enter = Linear(latent_dim, trunk.width)
        self.blocks = nn.ModuleList(PredictorBlock(trunk, window) for _ in range(trunk.depth))
        self.norm = nn.LayerNorm(trunk.width, trunk.eps)
        self.leave = Linear(trunk.width, latent_dim)

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the data's statistics before training."""
        super().prepare(statistics)
        if self.standard is not None:
            names = ("state_mean", "state_std")
            self.standard.prepare({name: statistics.get(name, [])[: self.action_dim] for name in names})

    def read(self, latents: Tensor, actions: Tensor, frame: int, caches: Caches) -> tuple[Tensor, Caches]:
        """See `CachedDynamics`."""
        patches, told = self.grid[0] * self.grid[1], self.actions(actions)
        check_tokens(self, latents, patches + (self.state != "none"))
        entered = self.enter(latents[:, :, :patches].flatten(1, 2)).unflatten(1, (latents.shape[1], patches))
        tokens = [entered, told[:, :, None]]
        if self.feel is not None and self.standard is not None:
            felt = latents[:, :, patches:, : self.action_dim]
            tokens.append(self.feel(self.standard(felt)))
        x = torch.cat(tokens, dim=2)
        frames = range(frame, frame + latents.shape[1])
        extra = len(tokens) - 1
        rotation = rotation_of(self.positions, self.grid, frames, extra, self.trunk.head_dim, x.device)
        x, caches = through(self.blocks, x, told, rotation, caches)
        following = self.leave(self.norm(x[:, :, :patches]).flatten(1, 2)).unflatten(1, entered.shape[1:3])
        if self.normalise:
            following = F.layer_norm(following, following.shape[-1:])
        return torch.cat([following, self._later(latents[:, :, patches:], actions)], dim=2), caches

    def _later(self, token: Tensor, actions: Tensor) -> Tensor:
        """The states' tokens (B, T, 0 or 1, D) after the actions (B, T, frame_skip * A)."""
        if self.state == "none":
            return token
        state = token[..., : self.action_dim]
        for action in (self.reach * actions).unflatten(-1, (self.frame_skip, 1, self.action_dim)).unbind(dim=2):
            state = moved(state, action) if self.state == "pose" else state + action
        return F.pad(state, (0, self.latent_dim - self.action_dim))
