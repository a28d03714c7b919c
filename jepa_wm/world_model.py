"""A world model: encoder, dynamics and what reads latents, saved, loaded, imagined and planned with as one."""

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from jepa_wm.checkpoint import save_modules
from jepa_wm.contracts import Dynamics, Encoder, Future, Generators, Plan
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.dynamics.calibration import Calibration, signs_of
from jepa_wm.dynamics.checks import check_bounds, check_readers, check_width
from jepa_wm.dynamics.cost import ActionCost, ConstrainedActionCost
from jepa_wm.dynamics.ensemble import Ensemble
from jepa_wm.dynamics.heads import Head, check_heads
from jepa_wm.dynamics.proposal import Proposal, propose
from jepa_wm.dynamics.rollout import rollouts
from jepa_wm.encoders.frames import Frames, PooledFrames
from jepa_wm.encoders.linear import packed
from jepa_wm.encoders.text import TextAlignment
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path
from jepa_wm.goals import Goal, GoalLike, Sum, as_goal
from jepa_wm.model_folder import check_free, load_parts, write_card
from jepa_wm.modes import in_eval_mode
from jepa_wm.observations import Imagined, Observation, Seen, tensor_of
from jepa_wm.planning.amortised import Amortised
from jepa_wm.precision import at_least_float32, mixed
from jepa_wm.search import Search


class WorldModel(nn.Module):
    """Encode what is seen, imagine what actions lead to, plan towards an image or a sentence.

    Args:
        encoder: pixels to tokens.
        dynamics: latents and actions to future latents.
        text: sentences and latents in one space; without it, no sentence can be a goal.
        frames: how frames become latents; the encoder's pooled ones if none is given.
        bounds: of the environment's actions; [-1, 1] if none are given.
        heads: what reads latents, by name.
        calibration: of an ensemble, what error is to be expected; none is as if it were the members' disagreement.
        proposal: what actions lead from a latent to another; without it, plans begin nowhere.

    Raises:
        UserError: if the parts are of other latents or actions, or what is given as a head is none, has a name that no
            head can have, or two names.
    """

    def __init__(
        self,
        encoder: Encoder,
        dynamics: Dynamics,
        text: TextAlignment | None = None,
        frames: Frames | None = None,
        bounds: ActionBounds | None = None,
        heads: dict[str, nn.Module] | None = None,
        calibration: Calibration | None = None,
        proposal: Proposal | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.dynamics, self.text, self.frames = encoder, dynamics, text, frames or PooledFrames()
        self.bounds = bounds or ActionBounds(dynamics.action_dim, dynamics.frame_skip)
        check_width("WorldModel", encoder, self.frames, dynamics)
        check_bounds("WorldModel", self.bounds, dynamics)
        check_heads(heads or {})
        self.heads = nn.ModuleDict(heads or {})
        self.proposal = proposal
        several = isinstance(dynamics, Ensemble)
        self.calibration = (calibration or Calibration(dynamics.latent_dim)) if several else None
        check_readers("WorldModel", dynamics, (heads or {}) | {"calibration": self.calibration, "proposal": proposal})

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "WorldModel":
        """Load a world model from a run folder (`runs/demo/forecast`), a saved folder, or the Hugging Face hub.

        Args:
            source: a folder, or "owner/name" of a model on the hub.

        Raises:
            UserError: if the folder lacks a part, a part is broken, or another version of the format made it.
        """
        parts = dict(load_parts(source).named_children())
        own = {name: parts.get(name) for name in inspect.signature(cls).parameters if name != "heads"}
        heads = {name: part for name, part in parts.items() if isinstance(part, Head)}
        return cls(**own, heads=heads).eval()  # type: ignore[arg-type]

    def save_pretrained(self, folder: str | Path) -> None:
        """Save everything needed to act into `folder`: safetensors, JSON, and a model card for the hub.

        Raises:
            UserError: if the folder holds anything but a model that was saved before, which is replaced as a whole.
        """
        check_free(folder)
        parts = {name: part for name, part in self.named_children() if name != "heads"}
        parts |= dict(self.heads.named_children())
        with atomic_path(folder) as aside:
            save_modules(aside, parts)
            write_card(aside, self.bounds, parts)

    @property
    def device(self) -> torch.device:
        """Where the model is; what it is given is brought there."""
        return next(self.parameters()).device

    def encode(self, pixels: Seen, state: Seen | None = None) -> Tensor:
        """Pixels uint8 (B, T, C, H, W), and the state (B, T, P) where it is read -> latents (B, T, N, D), float32.

        A model in float64 gives float64.

        Raises:
            UserError: if there are no such pixels, the state holds NaN, or is missing where it is read, or the model is
                in float16, which has not the range.
        """
        pixels = tensor_of(pixels)
        if pixels.ndim != 5 or not pixels.shape[0] or pixels.dtype != torch.uint8:
            raise UserError(
                f"encode: got {_told(pixels)}; expected a tensor of pixels uint8 (B, T, C, H, W), one sample at least"
            )
        if self.bounds.low.dtype == torch.float16:
            raise UserError("the model is in float16; expected float32, bfloat16 or float64: call model.float()")
        state = tensor_of(state, "state").to(self.bounds.low) if state is not None and self.frames.state_dim else None
        if state is not None and not torch.isfinite(state).all():
            raise UserError("observation: got NaN or infinity in the state; expected numbers")
        return at_least_float32(self.frames(self.encoder, pixels.to(self.device), state))

    @torch.no_grad()
    @in_eval_mode
    def imagine(
        self,
        pixels: Seen,
        actions: Seen,
        context: Seen | None = None,
        state: Seen | None = None,
        clip: bool = False,
    ) -> Imagined:
        """What follows what was seen, under actions; in eval mode, whatever mode the model is in.

        Args:
            pixels: the last frame (B, C, H, W), or the last T of them (B, T, C, H, W), uint8.
            actions: blocks (B, K, frame_skip * A) or, for S candidates of each, adjacent, (B * S, K, frame_skip * A).
            context: blocks of actions between the frames (B, T-1, frame_skip * A).
            state: of the frames (B, P) or (B, T, P), where the model reads it.
            clip: bring actions outside their bounds to them, instead of refusing them.

        Raises:
            UserError: if actions do not fit or lie outside their bounds, or something is not a number.
        """
        film, blocks = tensor_of(pixels), tensor_of(actions, "actions")
        felt = None if state is None else tensor_of(state, "state")
        if film.ndim not in (4, 5) or not len(film) or blocks.ndim != 3 or not all(blocks.shape[:2]):
            raise UserError(
                f"imagine: got pixels {_told(film)} and actions {_told(blocks)}; expected tensors (B, C, H, W) or "
                "(B, T, C, H, W), and blocks (B, K, frame_skip * A) or (B * S, K, frame_skip * A), B and K 1 or more"
            )
        film = film if film.ndim == 5 else film[:, None]
        felt = felt[:, None] if felt is not None and felt.ndim == 2 else felt
        blocks = self.bounds(blocks, clip)
        known = blocks[: len(film), :0] if context is None else self.bounds(tensor_of(context, "context"), clip)
        if known.shape[:2] != (len(film), film.shape[1] - 1) or len(blocks) % len(film):
            raise UserError(
                f"imagine: got {film.shape[1]} frames with {known.shape[1]} blocks of actions between them, and "
                f"{len(blocks)} sequences of actions and a context of {len(known)} for {len(film)} observations; "
                "expected one block fewer than frames, a context for each and a whole number of sequences for each"
            )
        seen = self.encode(film, felt)
        # A dynamics in bfloat16 takes what is seen in its own precision.
        with torch.autocast(self.device.type, torch.bfloat16) if self._weights == torch.bfloat16 else nullcontext():
            members = at_least_float32(rollouts(self.dynamics, seen, known, blocks))
            latents = members.mean(dim=0)
            if not latents.isfinite().all():
                raise UserError("imagine: the model answers with NaN or infinity; are its weights numbers?")
            readouts = {name: at_least_float32(head(latents)) for name, head in self.heads.items()}
        uncertainty = None
        if self.calibration is not None:
            last = seen[:, -1].repeat_interleave(len(blocks) // len(seen), dim=0)
            uncertainty = self.calibration(signs_of(members, last))
        return Imagined(latents, uncertainty, readouts)

    # Planners that go down turn gradients on, which nobody can within inference mode.
    @torch.inference_mode(False)
    @torch.no_grad()
    @in_eval_mode
    def plan(
        self,
        pixels: Seen,
        goal: GoalLike,
        search: Search | None = None,
        mean: Tensor | None = None,
        seed: int | Sequence[int] = 0,
        state: Seen | None = None,
    ) -> Plan:
        """Plan from what is seen to a goal; in eval mode, whatever mode the model is in.

        Args:
            pixels: what is seen, uint8 (E, C, H, W) or (C, H, W), of torch or NumPy as everywhere here.
            goal: what to reach: an image, a sentence, or any `jepa_wm.goals.Goal`.
            search: how to plan; as `Search` says by itself if none is given.
            mean: where the search starts, (E, K, A); the middle of the bounds if none is given. `Amortised` and
                `Hybrid` start from the model's proposal, whatever is given.
            seed: seeds the search; or that of each environment, (E,).
            state: of what is seen, (E, P) or (P,), where the model reads it.

        Returns:
            A Plan with actions (E, K, A) within the bounds, each to be held for `frame_skip` steps; or
            (E, K, frame_skip * A) where the search does not hold them.

        Raises:
            UserError: if the goal or `mean` does not fit the model or what is seen, or a proposal is wanted and the
                model has none.
        """
        search, goal = search or Search(), as_goal(goal)
        seen = Observation(tensor_of(pixels), None if state is None else tensor_of(state, "state"))
        Sum([goal, *search.terms]).check(seen)
        latents, goal = self.latents_of(seen), goal.settled(self)
        low, high = (bound.repeat(self.widening(search)) for bound in (self.bounds.low, self.bounds.high))
        shape = (len(latents), search.horizon, len(low))
        mean = (low + high).div(2).expand(shape) if mean is None else mean.to(low)
        if mean.shape != shape:
            raise UserError(f"plan: got a mean {tuple(mean.shape)} to start from; expected {shape}")
        std = (high - low).div(2).expand(shape)
        cost, once = self.action_cost(latents, goal, search), isinstance(search.planner, Amortised)
        if getattr(search.planner, "proposes", False):
            proposed = self.propose(latents, goal, search)
            mean = proposed.actions[:, 0]
            # What an ensemble's members are apart in is not told by a proposal.
            cost.known = proposed if once and not isinstance(self.dynamics, Ensemble) else None
        # The search alone: for a frame or two, to bring an encoder's weights to bfloat16 takes longer than it saves.
        # And to pack the dynamics' weights pays in a search, not for one candidate.
        with mixed(self.device.type, self._weights), nullcontext() if once else packed():
            return search.planner.plan(cost, mean, std, low, high, _generators(seed, len(latents)), search.budget)

    def action_cost(self, latents: Tensor, goal: GoalLike, search: Search) -> ActionCost:
        """What actions cost from latents (E, N, D) on, as `search` says: what its planner searches for the least of."""
        wanted = Sum([as_goal(goal), *search.terms]).seen_from(latents)
        cost, seen = wanted.cost(self, len(latents), search.distance), latents[:, None]
        broken = [constraint.violation(self, wanted) for constraint in search.constraints]
        if not broken:
            return ActionCost(self.dynamics, seen, cost, self.calibration)

        def violation(future: Future) -> Tensor:
            return torch.stack([each(future) for each in broken]).sum(dim=0)

        return ConstrainedActionCost(self.dynamics, seen, cost, violation, self.calibration)

    def propose(self, latents: Tensor, goal: Goal, search: Search) -> Future:
        """Actions (E, 1, K, A) from latents (E, N, D) to a goal, without a search, and where they lead.

        Raises:
            UserError: if the model has no part `proposal`, or the goal is no latents.
        """
        if self.proposal is None:
            raise UserError(
                f"plan: {type(search.planner).__name__} starts from what the model proposes, but this one has no part "
                "`proposal`; train one, as configs/two_rooms/amortise.yaml does"
            )
        wanted = goal.seen_from(latents).place(self, len(latents))
        with mixed(self.device.type, self._weights):
            found = propose(self.proposal, self.dynamics, latents, wanted, search.horizon, search.hold)
        return found._replace(actions=found.actions.to(at_least_float32(self.bounds.low)))

    @property
    def _weights(self) -> torch.dtype:
        """The precision of the dynamics."""
        return next(self.dynamics.parameters(), self.bounds.low).dtype

    def widening(self, search: Search) -> int:
        """How many of the environment's actions are in one planned action.

        Raises:
            UserError: if there are several, and the planner makes one choice of them all.
        """
        wide = 1 if search.hold else self.dynamics.frame_skip
        if wide > 1 and search.one_hot:
            raise UserError(
                f"plan: CategoricalCEM makes one choice a planned action, which holds {wide} actions here; expected "
                "hold true"
            )
        return wide

    def latents_of(self, seen: Observation) -> Tensor:
        """The latents (E, N, D) of one frame of each environment.

        Raises:
            UserError: if these are no images, or there are not as many states.
        """
        pixels = tensor_of(seen.pixels)
        if pixels.dtype != torch.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-3] != 3:
            raise UserError(f"plan: got an image {_told(pixels)}; expected torch.uint8 (E, 3, H, W) or (3, H, W)")
        pixels = pixels if pixels.ndim == 4 else pixels[None]
        if seen.state is None:
            return self.encode(pixels[:, None])[:, 0]
        state = tensor_of(seen.state, "state")
        state = state if state.ndim == 2 else state[None]
        if len(state) != len(pixels):
            raise UserError(f"plan: got {len(pixels)} images with {len(state)} states; expected one state for each")
        return self.encode(pixels[:, None], state[:, None])[:, 0]


def _generators(seed: int | Sequence[int], environments: int) -> Generators:
    """One generator of each seed; a single one where all environments have the same."""
    seeds = list(seed) if isinstance(seed, Sequence) else [seed]
    if len(seeds) not in (1, environments):
        raise UserError(f"plan: got {len(seeds)} seeds for {environments} environments; expected one, or one for each")
    made = {each: torch.Generator().manual_seed(each) for each in seeds}
    return made[seeds[0]] if len(made) == 1 else [made[each] for each in seeds]


def _told(given: Tensor) -> str:
    """What was given in place of a tensor that fits, in few words."""
    return f"{given.dtype} {tuple(given.shape)}"
