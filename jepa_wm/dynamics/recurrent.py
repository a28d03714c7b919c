"""A recurrent predictor: the cheap one that remembers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Dynamics
from jepa_wm.dynamics.actions import ActionEncoder
from jepa_wm.dynamics.checks import check_tokens


class RecurrentState(NamedTuple):
    """Newest latent (B, N, D), and the hidden state (B, width) before it is read; None at first."""

    latent: Tensor
    hidden: Tensor | None


class RecurrentDynamics(Dynamics):
    """Predict z[t+1] = z[t] + f(h[t]), with h[t] of a GRU over latents and actions.

    Args:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame; they are read as one vector.
        action_dim: A of one environment step.
        frame_skip: environment steps between two latents.
        width: of the hidden state.
        discrete: actions are one-hot vectors.

    Source: the predictor of EB-JEPA (arXiv 2602.03604) with a residual.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        tokens: int = 1,
        action_dim: int = 2,
        frame_skip: int = 5,
        width: int = 256,
        discrete: bool = False,
    ) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.action_dim, self.frame_skip = latent_dim, tokens, action_dim, frame_skip
        self.width, self.discrete = width, discrete
        self.actions = ActionEncoder(action_dim, frame_skip, width, width, discrete)
        self.hear = nn.Linear(tokens * latent_dim + width, 3 * width)
        self.recall = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, tokens * latent_dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Teacher forcing: latents (B, T, N, D) and the action after each (B, T, A) -> the next of each."""
        return self._read(latents, actions, None)[0]

    def start(self, latents: Tensor, actions: Tensor) -> RecurrentState:
        """Read the context once: latents (B, T, N, D), actions between them (B, T-1, A)."""
        past = latents[:, :-1]
        return RecurrentState(latents[:, -1], self._read(past, actions, None)[1] if past.shape[1] else None)

    def step(self, state: RecurrentState, action: Tensor) -> RecurrentState:
        """Advance by one latent under `action` (B, A)."""
        latents, hidden = self._read(state.latent[:, None], action[:, None], state.hidden)
        return RecurrentState(latents[:, 0], hidden)

    def latent(self, state: RecurrentState) -> Tensor:
        """The state's newest latent (B, N, D)."""
        return state.latent

    def expand(self, state: RecurrentState, candidates: int) -> RecurrentState:
        """S candidates of each state, adjacent."""
        hidden = None if state.hidden is None else state.hidden.repeat_interleave(candidates, dim=0)
        return RecurrentState(state.latent.repeat_interleave(candidates, dim=0), hidden)

    def _read(self, latents: Tensor, actions: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        check_tokens(self, latents, self.tokens)
        heard = self.hear(torch.cat([latents.flatten(2), self.actions(actions)], dim=-1))
        hidden = heard.new_zeros(heard.shape[0], self.width) if hidden is None else hidden
        read = []
        for new in heard.unbind(dim=1):
            hidden = self._gated(new.chunk(3, dim=-1), self.recall(hidden).chunk(3, dim=-1), hidden)
            read.append(hidden)
        return latents + self.leave(torch.stack(read, dim=1)).unflatten(-1, latents.shape[2:]), hidden

    def _gated(self, new: Sequence[Tensor], old: Sequence[Tensor], hidden: Tensor) -> Tensor:
        """A GRU's step in plain operations: torch's own cannot be mapped over the members of an ensemble."""
        reset, update = (new[0] + old[0]).sigmoid(), (new[1] + old[1]).sigmoid()
        return torch.lerp((new[2] + reset * old[2]).tanh(), hidden, update)
