"""The alphabet of shapes, the protocols and the records: what each room of the house promises.

B batch, V views, T frames, C H W pixels, N tokens a frame, D width, L text length, E environments,
S candidates, K plan length, A action, P proprioception. Latents are `(B, T, N, D)`. Pixels are
uint8 `(B, T, C, H, W)` or `(B, C, H, W)` until they are on the device; the encoder owns their
normalisation. `actions[:, t]` leads from frame t to frame t+1 in the environment's own units; the
model owns their normalisation. Progress is a float in [0, 1].
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from numbers import Integral, Real
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from jepa_wm.errors import UserError

Batch = dict[str, Any]
"""A batch of clips: pixels uint8 (B, T, C, H, W); actions float32 (B, T-1, A), A covering the whole
frame skip; reward float32 (B, T-1), its sum over the frame skip; ends float32 (B, T-1), 1 where the frame reached
is one at which the episode was over by itself, if that is known of all; state float32 (B, T, P); captions,
a list of B lists of T sentences. Or of images: pixels uint8 (B, C, H, W), captions a list of B sentences.
What an objective's `transform` made of the pixels is beside them: `views` uint8 (B, V, …, C, H, W),
`local_views` (B, V, …, C, h, w). `step`, the number of the batch counted from one that the run's seed
gives, seeds everything random; `progress` is the share of the training that is done."""


class Encoder(nn.Module):
    """Pixels to tokens; `keep` names the patches to encode, the others are dropped before block 1.

    Attributes:
        dim: width D of the tokens.
        latent_dim: width of a pooled latent.
        preprocessing: from pixels uint8 of any size to those of the size that the encoder was made for.
        source: where its weights come from, in words.
    """

    dim: int
    latent_dim: int
    source: str
    preprocessing: Callable[[Tensor], Tensor]

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Pixels uint8 (B, T, C, H, W) or (B, C, H, W), keep (B, K) -> tokens (B, N or K, D)."""
        raise NotImplementedError

    def pooled(self, pixels: Tensor) -> Tensor:
        """Pixels, images or clips, -> one latent each (B, latent_dim)."""
        raise NotImplementedError

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Tokens in time, height and width of a clip of `frames` frames of `height` x `width` pixels."""
        raise NotImplementedError

    def grid_of(self, pixels: Tensor) -> tuple[int, int, int]:
        """Tokens in time, height and width of pixels, images or clips."""
        return self.grid(pixels.shape[1] if pixels.ndim == 5 else 1, *pixels.shape[-2:])


class Objective(nn.Module):
    """How an encoder or a world model learns. Constructed on an encoder; objectives add up on it.

    Attributes:
        transform: what the samples need beside their pixels: a function from pixels uint8 (…, C, H, W) to
            further members of the batch by name; None where nothing is needed.
    """

    transform: Callable[[Tensor], dict[str, Tensor]] | None = None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> {"loss": scalar with gradient, …: named scalars to log}."""
        raise NotImplementedError

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the data's statistics (`action_mean`, `action_std`: lists of A) before training."""

    def frozen(self) -> list[nn.Module]:
        """Parts that this objective never trains, teachers and what is locked: they stay in eval mode."""
        return []

    def train(self, mode: bool = True) -> "Objective":
        """Set the mode of everything that is not frozen."""
        super().train(mode)
        for part in self.frozen():
            part.eval()
        return self

    def after_step(self, progress: float) -> None:
        """Follow an optimiser step, e.g. with a teacher's moving average."""

    def calibrate(self, learned: Iterable[Batch], held_out: Iterable[Batch]) -> None:
        """Fit, once training has ended, what is measured and not learned: to batches of either split."""

    def exported(self) -> dict[str, nn.Module]:
        """What is saved and probed, by name: "encoder", "teacher", "text", "dynamics" …"""
        raise NotImplementedError


class LatentTerm(nn.Module):
    """Something asked of the latents of a clip beside their prediction.

    Attributes:
        weight: its factor in the loss.
    """

    weight: float

    def forward(self, latents: Tensor, imagined: Tensor | None, batch: Batch) -> Tensor:
        """The loss, a scalar that is not weighted yet.

        Args:
            latents: of a clip, (B, T, N, D), float32, with gradient.
            imagined: what each of M predictors says of the clip's last K frames, rolled out from those before,
                (M, B, K, N, D); None if nothing was rolled out to the clip's end.
            batch: the clip.
        """
        raise NotImplementedError

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the data's statistics, as `Objective.prepare`; of states `state_mean` and `state_std`, lists of P."""

    def after_step(self, progress: float) -> None:
        """Follow an optimiser step, as `Objective.after_step`."""

    def exported(self) -> dict[str, nn.Module]:
        """What is saved with the model, by name."""
        return {}


State = Any
"""A dynamics state: opaque to everyone but its dynamics."""


class Dynamics(nn.Module):
    """Latents and actions to future latents.

    Attributes:
        latent_dim: width D of the latents.
        action_dim: A of one environment step.
        frame_skip: environment steps between two latents; an action here is `frame_skip * action_dim` wide.
        actions: what embeds actions.

    `forward(latents (B, T, N, D), actions (B, T, A))` is teacher forcing: the latents after each frame. An ensemble
    answers with its members' mean; `forced` and `futures` are what its M members say, and what is trained.
    """

    latent_dim: int
    action_dim: int
    frame_skip: int
    actions: Any

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the data's statistics before training, as `Objective.prepare`."""
        self.actions.prepare(statistics)

    def start(self, latents: Tensor, actions: Tensor) -> State:
        """Read the context once: latents (B, T, N, D), actions between them (B, T-1, A)."""
        raise NotImplementedError

    def step(self, state: State, action: Tensor) -> State:
        """Advance by one latent under `action` (B, A)."""
        raise NotImplementedError

    def latent(self, state: State) -> Tensor:
        """The state's newest latent (B, N, D)."""
        raise NotImplementedError

    def expand(self, state: State, candidates: int) -> State:
        """S candidates of each of B states: a state of batch B * S, candidates of one state adjacent."""
        raise NotImplementedError

    def future(self, state: State, actions: Tensor, cut: bool = False) -> Tensor:
        """The latents (B, K, N, D) after each action (B, K, A); with `cut`, no gradient goes back past a step."""
        latents = []
        for action in actions.unbind(dim=1):
            state = self.step(detached(state) if cut else state, action)
            latents.append(self.latent(state))
        return torch.stack(latents, dim=1)

    def forced(self, latents: Tensor, actions: Tensor) -> Tensor:
        """`forward` of each member (M, B, T, N, D)."""
        return self(latents, actions)[None]

    def futures(self, state: State, actions: Tensor, cut: bool = False) -> Tensor:
        """`future` of each member (M, B, K, N, D)."""
        return self.future(state, actions, cut)[None]


def detached(state: State) -> State:
    """The same state, through which no gradient goes."""
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, state)


Cost = Callable[[Tensor], Tensor]
"""Candidates (E, S, K, A) -> costs (E, S); lower is better."""


class Future(NamedTuple):
    """What S candidates of each of E environments are imagined to lead to.

    Attributes:
        latents: (E, S, K, N, D), after each action.
        actions: (E, S, K, A), as they were planned.
        uncertainty: the error that is to be expected of the latents (E, S, K); None of a single predictor.
        seen: the latents of now, (E, N, D), that it sets out from; None where they do not matter.
    """

    latents: Tensor
    actions: Tensor
    uncertainty: Tensor | None = None
    seen: Tensor | None = None


FutureCost = Callable[[Future], Tensor]
"""A future -> (E, S): a cost, lower is better; or how far it breaks a constraint, 0 where it does not."""


@runtime_checkable
class ConstrainedCost(Protocol):
    """A `Cost` that can tell apart what candidates cost and what they break."""

    def __call__(self, candidates: Tensor) -> Tensor:
        """Candidates (E, S, K, A) -> costs (E, S), for who asks for one number; what breaks a constraint costs more."""
        ...

    def parts(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates -> what they lead to costs (E, S), and by how much it breaks constraints (E, S), 0 or more."""
        ...


@dataclass(frozen=True)
class Budget:
    """What a search may spend, in place of the number of its rounds; what is None has no limit.

    Args:
        evaluations: candidates that are judged in each environment.
        seconds: of the clock, for all environments together; a round is begun if the slowest so far would end in time,
            the first in any case.

    Raises:
        UserError: if one is 0 or less, infinite, or no number; `evaluations` also if it is no whole one.
    """

    evaluations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, kind, wanted in (("evaluations", Integral, "a whole number"), ("seconds", Real, "a finite number")):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, kind) and 0 < float(value) < inf):
                raise UserError(f"budget: got {name} {value!r}; expected {wanted} above 0, or none for no limit")


class Plan(NamedTuple):
    """A planner's answer.

    Attributes:
        actions: (E, K, A), within the bounds.
        cost: of these (E,), whatever they break.
        trace: the search, a row for each of I rounds: `cost` (I, E), of the best so far, and where there are
            constraints its `violation` (I, E); `seconds` and `evaluations` (I,), spent by then; `nan` (I, E), costs
            that were no number, by then. Planners that search tell `spread` (I, E), how far candidates are apart, and
            `elites` (I, E), the mean cost of those that the search goes on from.
        violation: by how much they break constraints (E,), 0 where they do not; None where there are none.
    """

    actions: Tensor
    cost: Tensor
    trace: dict[str, Tensor]
    violation: Tensor | None = None

    @property
    def broken(self) -> Tensor:
        """Whether these break a constraint (E,), as they do where nothing that was tried keeps it."""
        return torch.zeros_like(self.cost, dtype=torch.bool) if self.violation is None else self.violation > 0


Generators = torch.Generator | Sequence[torch.Generator]
"""Where random numbers come from: one generator, whose numbers all environments share, or that of each of E. Those
that have the same one share its numbers, so that a plan never depends on what else is planned beside it."""


class Planner(Protocol):
    """Search over action sequences; keeps no state of its own between calls."""

    def plan(
        self,
        cost: Cost,
        mean: Tensor,
        std: Tensor,
        low: Tensor,
        high: Tensor,
        generator: Generators,
        budget: Budget | None = None,
    ) -> Plan:
        """Search from mean (E, K, A) and std (E, K, A) within low and high (A,).

        All that is judged is within the bounds, the best candidate is never lost, a cost that is no number never wins,
        and the plan of one environment is the same alone or in a batch. Of a `ConstrainedCost` the best is what breaks
        least, and of these what costs least. With a budget the search goes on until it is spent, whatever the number of
        rounds that the planner was made for.

        Raises:
            UserError: if every cost of an environment is no number.
        """
        ...


class Score(NamedTuple):
    """A metric's answer: its value, its expectation under the null, an interval and the sample size."""

    value: float
    null: float
    interval: tuple[float, float]
    n: int
