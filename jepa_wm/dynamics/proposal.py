"""What pairs of latents tell: the actions that lead from one to the other, and how long that takes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.contracts import Dynamics, Future
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32
from jepa_wm.standard import Standard

SOON = 0.1
"""Share of the ways to a goal, among those that were short enough to be counted, that are thought quick."""


class Proposal(nn.Module):
    """Goal-conditioned inverse dynamics: the next block of actions towards a goal, and the blocks still to go.

    Both are read off all tokens of two frames as one vector, by an MLP each. The blocks to go are a choice among
    0 … `longest` and one more, which stands for what is farther or of another episode.

    Args:
        latent_dim: width D of the latents.
        tokens: tokens N of a frame.
        action_dim: A of one environment step.
        frame_skip: environment steps in a block.
        longest: blocks beyond which a goal is far, however far it is.
        width: of the hidden layers.

    Source: GC-IDM (arXiv 2605.08732), an MLP of 1.5 million parameters that is told the steps to go; here it tells them
    itself, too, by the distribution over steps of "Search on the Replay Buffer" (arXiv 1906.05253).
    """

    def __init__(
        self,
        latent_dim: int = 64,
        tokens: int = 1,
        action_dim: int = 2,
        frame_skip: int = 5,
        longest: int = 10,
        width: int = 512,
    ) -> None:
        super().__init__()
        self.latent_dim, self.tokens, self.action_dim, self.frame_skip = latent_dim, tokens, action_dim, frame_skip
        self.longest, self.width = longest, width
        self.standard, self.bounds = Standard(action_dim, "action"), ActionBounds(action_dim, frame_skip)
        pair = 2 * tokens * latent_dim
        self.read_actions = _mlp(pair + 2, width, frame_skip * action_dim)
        self.read_blocks = _mlp(pair, width, longest + 2)

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the spread of the data's actions, and their bounds."""
        self.standard.prepare(statistics)
        self.bounds.prepare(statistics)

    def forward(self, latents: Tensor, goal: Tensor, ahead: Tensor) -> Tensor:
        """The next block of actions, in the environment's units and within its bounds.

        Args:
            latents: (..., N, D).
            goal: (..., N, D).
            ahead: blocks to go, (...), at least 1; more than `longest` counts as that.

        Returns:
            (..., frame_skip * A).
        """
        actions = self._actions(latents, goal, ahead).unflatten(-1, (self.frame_skip, self.action_dim))
        return self.standard.inverse(actions).clamp(self.bounds.low, self.bounds.high).flatten(-2)

    def blocks(self, latents: Tensor, goal: Tensor) -> Tensor:
        """The expected number of blocks (...) between latents and goals (..., N, D), 0 to `longest` + 1."""
        shares = at_least_float32(self._blocks(latents, goal)).softmax(dim=-1)
        return (shares * torch.arange(shares.shape[-1], device=shares.device)).sum(dim=-1)

    def soonest(self, latents: Tensor, goal: Tensor) -> Tensor:
        """The number of blocks (...), 1 to `longest`, in which the quickest tenth came from latents to goals."""
        shares = at_least_float32(self._blocks(latents, goal)).softmax(dim=-1)[..., 1:-1].cumsum(dim=-1)
        return 1 + (shares[..., :-1] < SOON * shares[..., -1:]).sum(dim=-1)

    def errors(self, latents: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """How wrong it is on clips, of whose frames any is a goal of all before it.

        Args:
            latents: (B, T, N, D).
            actions: blocks between them (B, T-1, frame_skip * A).

        Returns:
            `actions`, the mean squared error in standard deviations, over all pairs; `blocks`, the cross-entropy to the
            number of blocks, over all pairs, each frame with itself among them, and each frame with the one beside it
            of the next clip, or of the one before where the clip is odd, which is far.

        Raises:
            UserError: if latents or actions are of another size than it is made for.
        """
        if actions.shape[-1] != self.frame_skip * self.action_dim:
            raise UserError(
                f"Proposal: got blocks of {actions.shape[-1]} numbers; expected frame_skip {self.frame_skip} times "
                f"action_dim {self.action_dim}: set them to what the dynamics' are"
            )
        start, end = torch.triu_indices(latents.shape[1], latents.shape[1], device=latents.device)
        apart = end - start
        told = apart.clamp(max=self.longest + 1).expand(len(latents), -1)
        beside = len(latents) // 2 * 2
        others = latents[:beside].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
        near = self._blocks(latents[:, start], latents[:, end]).flatten(0, 1)
        far = self._blocks(latents[:beside], others).flatten(0, 1)
        wanted = torch.cat([told.flatten(), told.new_full((len(far),), self.longest + 1)])
        ways = apart > 0
        start, end, apart = start[ways], end[ways], apart[ways].expand(len(latents), -1)
        found = at_least_float32(self._actions(latents[:, start], latents[:, end], apart))
        taken = self.standard(actions[:, start].unflatten(-1, (self.frame_skip, self.action_dim))).flatten(-2)
        return {
            "actions": F.mse_loss(found, taken),
            "blocks": F.cross_entropy(at_least_float32(torch.cat([near, far])), wanted),
        }

    def _actions(self, latents: Tensor, goal: Tensor, ahead: Tensor) -> Tensor:
        """The next block of actions, in standard deviations from their mean."""
        ahead = ahead.clamp(1, self.longest).to(latents.dtype)
        times = torch.stack([ahead.reciprocal(), ahead / self.longest], dim=-1)
        return self.read_actions(torch.cat([self._pair(latents, goal), times], dim=-1))

    def _blocks(self, latents: Tensor, goal: Tensor) -> Tensor:
        return self.read_blocks(self._pair(latents, goal))

    def _pair(self, latents: Tensor, goal: Tensor) -> Tensor:
        """Both as one vector (..., 2 * N * D)."""
        if latents.shape[-2:] != (self.tokens, self.latent_dim):
            raise UserError(
                f"Proposal: got latents of {latents.shape[-2]} tokens of width {latents.shape[-1]}; expected "
                f"{self.tokens} of {self.latent_dim}: set tokens and latent_dim to what the model's frames have"
            )
        return torch.cat([latents.flatten(-2), goal.expand_as(latents).flatten(-2)], dim=-1)


def propose(
    proposal: Proposal, dynamics: Dynamics, latents: Tensor, goal: Tensor, horizon: int, hold: bool = False
) -> Future:
    """What a proposal would do, each next block from where the last is imagined to lead, and as quickly as it may be.

    Args:
        proposal: what is asked at each block.
        dynamics: what imagines.
        latents: what is seen, (E, N, D).
        goal: (E, N, D) or (1, N, D).
        horizon: blocks K.
        hold: an action is held over each block, the mean of those that were proposed for it.

    Returns:
        One candidate an environment: actions (E, 1, K, A) if they are held, else (E, 1, K, frame_skip * A), and where
        they lead.
    """
    steps = (dynamics.frame_skip, dynamics.action_dim)
    state = dynamics.start(latents[:, None], latents.new_zeros(len(latents), 0, steps[0] * steps[1]))
    actions, places = list[Tensor](), [latents]
    for _ in range(horizon):
        block = proposal(places[-1], goal, proposal.soonest(places[-1], goal))
        actions.append(block.unflatten(-1, steps).mean(dim=-2) if hold else block)
        state = dynamics.step(state, actions[-1].repeat(1, steps[0]) if hold else block)
        places.append(dynamics.latent(state))
    return Future(torch.stack(places[1:], dim=1)[:, None], torch.stack(actions, dim=1)[:, None], seen=latents)


def _mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(inputs, width), nn.SiLU()),
        *(nn.Linear(width, width), nn.SiLU()),
        *(nn.Linear(width, width), nn.SiLU()),
        nn.Linear(width, outputs),
    )
