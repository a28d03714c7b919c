"""A residual MLP: the cheapest predictor, which sees one frame."""

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics.actions import ActionEncoder
from jepa_wm.dynamics.checks import check_tokens


class MLPDynamics(Dynamics):
    """Predict z[t+1] = z[t] + f(z[t], a[t]); its state is the newest latent.

    Args:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame; they are read as one vector.
        action_dim: A of one environment step.
        frame_skip: environment steps between two latents.
        width: of the hidden layers.
        discrete: actions are one-hot vectors.

    Source: TD-MPC2's latent dynamics (arXiv 2310.16828), with a residual and without its simplicial norm.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        tokens: int = 1,
        action_dim: int = 2,
        frame_skip: int = 5,
        width: int = 512,
        discrete: bool = False,
    ) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.action_dim, self.frame_skip = latent_dim, tokens, action_dim, frame_skip
        self.width, self.discrete = width, discrete
        self.actions = ActionEncoder(action_dim, frame_skip, width, width, discrete)
        self.enter = nn.Linear(tokens * latent_dim + width, width)
        self.middle = nn.Sequential(
            *(nn.LayerNorm(width), nn.Mish()),
            *(nn.Linear(width, width), nn.LayerNorm(width), nn.Mish()),
        )
        self.leave = nn.Linear(width, tokens * latent_dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Teacher forcing: latents (B, T, N, D) and the action after each (B, T, A) -> the next of each."""
        check_tokens(self, latents, self.tokens)
        entering = torch.cat([latents.flatten(2), self.actions(actions)], dim=-1)
        return latents + self.leave(self.middle(self.enter(entering))).unflatten(-1, latents.shape[2:])

    def start(self, latents: Tensor, actions: Tensor) -> Tensor:
        """The last of the latents (B, T, N, D): there is no memory of those before."""
        return latents[:, -1]

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Advance by one latent under `action` (B, A)."""
        return self(state[:, None], action[:, None])[:, 0]

    def latent(self, state: Tensor) -> Tensor:
        """The state's newest latent (B, N, D)."""
        return state

    def expand(self, state: Tensor, candidates: int) -> Tensor:
        """S candidates of each state, adjacent."""
        return state.repeat_interleave(candidates, dim=0)
