"""What actions cost, by what they lead to."""

import torch
from torch import Tensor

from jepa_wm.contracts import Dynamics, Future, FutureCost
from jepa_wm.dynamics.calibration import Calibration, signs_of
from jepa_wm.dynamics.rollout import rollout, rollouts
from jepa_wm.planning.costs import rejected

ROWS = 4096
"""Candidates that are rolled out at once on a CPU: few enough for its caches."""


class ActionCost:
    """The cost of candidates: (E, S, K, A), each action held over a block, or (E, S, K, frame_skip * A).

    Args:
        dynamics: what imagines.
        latents: what was seen, (E, T, N, D).
        cost: of what is imagined.
        calibration: of an ensemble, what error is to be expected; none, and futures have no uncertainty.

    Attributes:
        known: a future that was imagined already; who asks for its candidates alone is given it.
    """

    known: Future | None = None

    def __init__(
        self,
        dynamics: Dynamics,
        latents: Tensor,
        cost: FutureCost,
        calibration: Calibration | None = None,
    ) -> None:
        self.dynamics, self.latents, self.cost = dynamics, latents, cost
        self.calibration = calibration

    def __call__(self, candidates: Tensor) -> Tensor:
        """Candidates -> costs (E, S)."""
        return self.cost(self.imagine(candidates))

    def imagine(self, candidates: Tensor) -> Future:
        """What candidates lead to."""
        if self.known is not None and torch.equal(self.known.actions, candidates):
            return self.known
        environments, samples = candidates.shape[:2]
        blocks = candidates.flatten(0, 1)
        if candidates.shape[-1] == self.dynamics.action_dim:
            blocks = blocks.repeat(1, 1, self.dynamics.frame_skip)
        size = max(ROWS // samples, 1) if self.latents.device.type == "cpu" else environments
        slices = range(0, environments, size)
        found = [self._imagined(self.latents[i : i + size], blocks[i * samples : (i + size) * samples]) for i in slices]
        latents, uncertainty = (
            None if part[0] is None else torch.cat(part).unflatten(0, (environments, samples))
            for part in zip(*found, strict=True)
        )
        assert latents is not None
        return Future(latents, candidates, uncertainty, self.latents[:, -1])

    def _imagined(self, seen: Tensor, actions: Tensor) -> tuple[Tensor, Tensor | None]:
        """The latents (E * S, K, N, D) after blocks of actions, and their uncertainty (E * S, K)."""
        if self.calibration is None:
            return rollout(self.dynamics, seen, actions[: len(seen), :0], actions), None
        members = rollouts(self.dynamics, seen, actions[: len(seen), :0], actions)
        last = seen[:, -1].repeat_interleave(len(actions) // len(seen), dim=0)
        return members.mean(dim=0), self.calibration(signs_of(members, last))


class ConstrainedActionCost(ActionCost):
    """The cost of candidates, of which those that break a constraint cost more than any that breaks none.

    Args:
        dynamics: what imagines.
        latents: what was seen, (E, T, N, D).
        cost: of what is imagined.
        violation: by how much it breaks constraints.
        calibration: as in `ActionCost`.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        latents: Tensor,
        cost: FutureCost,
        violation: FutureCost,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(dynamics, latents, cost, calibration)
        self.violation = violation

    def __call__(self, candidates: Tensor) -> Tensor:
        return rejected(*self.parts(candidates))

    def parts(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """See `ConstrainedCost`."""
        future = self.imagine(candidates)
        return self.cost(future), self.violation(future)
