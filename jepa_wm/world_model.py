"""A world model: encoder, dynamics and what reads latents, saved, loaded, imagined and planned with as one."""

from pathlib import Path

import torch
from torch import Tensor, nn

from jepa_wm.checkpoint import load_module, save_modules
from jepa_wm.contracts import Dynamics, Encoder, Plan, Planner
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.dynamics.calibration import Calibration, signs_of
from jepa_wm.dynamics.cost import action_cost
from jepa_wm.dynamics.heads import Head
from jepa_wm.dynamics.rollout import rollouts
from jepa_wm.encoders.frames import Frames, PooledFrames
from jepa_wm.encoders.text import TextAlignment
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path
from jepa_wm.model_folder import model_folder, write_card
from jepa_wm.observations import Goal, Imagined, Observation
from jepa_wm.planning.cem import CEM
from jepa_wm.planning.costs import LatentCost, dissimilarity, goal_distance
from jepa_wm.precision import mixed


class WorldModel(nn.Module):
    """Encode what is seen, imagine what actions lead to, plan towards an image or a sentence.

    Args:
        encoder: pixels to tokens.
        dynamics: latents and actions to future latents.
        text: sentences and latents in one space; without it, no sentence can be a goal.
        frames: how frames become latents; the encoder's pooled ones if none is given.
        bounds: of the environment's actions; [-1, 1] if none are given.
        heads: what reads latents, by name.
        calibration: from an ensemble's disagreement to its error; none is as if they were equal.
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
    ) -> None:
        super().__init__()
        self.encoder, self.dynamics, self.text, self.frames = encoder, dynamics, text, frames or PooledFrames()
        self.bounds = bounds or ActionBounds(dynamics.action_dim, dynamics.frame_skip)
        self.heads = nn.ModuleDict(heads or {})
        self.calibration = calibration or Calibration()

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "WorldModel":
        """Load a world model from a run folder (`runs/demo/forecast`), a saved folder, or the Hugging Face hub.

        Args:
            source: a folder, or "owner/name" of a model on the hub.

        Raises:
            UserError: if the folder lacks a part, a part is broken, or another version of the format made it.
        """
        folder = model_folder(source)
        # A part of which one file is lost is broken, and not a part that was never there.
        found = {path.parent for name in ("config.json", "model.safetensors") for path in folder.glob(f"*/{name}")}
        parts = {path.name: load_module(path) for path in sorted(found)}
        if missing := {"encoder", "dynamics"} - parts.keys():
            raise UserError(f"{folder} holds no '{min(missing)}'; it holds {sorted(parts)}")
        own = {name: parts.get(name) for name in ("encoder", "dynamics", "text", "frames", "bounds", "calibration")}
        heads = {name: part for name, part in parts.items() if isinstance(part, Head)}
        return cls(**own, heads=heads).eval()  # type: ignore[arg-type]

    def save_pretrained(self, folder: str | Path) -> None:
        """Save everything needed to act into `folder`: safetensors, JSON, and a model card for the hub."""
        parts = {name: part for name, part in self.named_children() if name != "heads"}
        parts |= dict(self.heads.named_children())
        with atomic_path(folder) as aside:
            save_modules(aside, parts)
            write_card(aside, self.bounds, parts)

    @property
    def device(self) -> torch.device:
        """Where the model is; what it is given is brought there."""
        return next(self.parameters()).device

    def encode(self, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        """Pixels uint8 (B, T, C, H, W), and the state (B, T, P) where it is read -> latents float32 (B, T, N, D).

        Raises:
            UserError: if the state holds NaN, or is missing where it is read.
        """
        state = state.to(self.bounds.low) if state is not None and self.frames.state_dim else None
        if state is not None and not torch.isfinite(state).all():
            raise UserError("observation: got NaN or infinity in the state; expected numbers")
        return self.frames(self.encoder, pixels.to(self.device), state).float()

    @torch.no_grad()
    def imagine(
        self,
        pixels: Tensor,
        actions: Tensor,
        context: Tensor | None = None,
        state: Tensor | None = None,
        clip: bool = False,
    ) -> Imagined:
        """What follows what was seen, under actions.

        Args:
            pixels: the last frame (B, C, H, W), or the last T of them (B, T, C, H, W), uint8.
            actions: blocks (B, K, frame_skip * A) or, for S candidates of each, adjacent, (B * S, K, frame_skip * A).
            context: blocks of actions between the frames (B, T-1, frame_skip * A).
            state: of the frames (B, P) or (B, T, P), where the model reads it.
            clip: bring actions outside their bounds to them, instead of refusing them.

        Raises:
            UserError: if actions do not fit or lie outside their bounds, or something is not a number.
        """
        if pixels.ndim not in (4, 5) or actions.ndim != 3 or not actions.shape[1]:
            raise UserError(
                f"imagine: got pixels {tuple(pixels.shape)} and actions {tuple(actions.shape)}; expected (B, C, H, W) "
                "or (B, T, C, H, W), and blocks (B, K, frame_skip * A) or (B * S, K, frame_skip * A) with K 1 or more"
            )
        pixels = pixels if pixels.ndim == 5 else pixels[:, None]
        state = state[:, None] if state is not None and state.ndim == 2 else state
        actions = self.bounds(actions, clip)
        known = actions[: len(pixels), :0] if context is None else self.bounds(context, clip)
        if known.shape[1] != pixels.shape[1] - 1 or len(actions) % len(pixels):
            raise UserError(
                f"imagine: got {pixels.shape[1]} frames with {known.shape[1]} blocks of actions between them, and "
                f"{len(actions)} sequences of actions for {len(pixels)} observations; expected one block fewer than "
                "frames, and a whole number of sequences for each"
            )
        seen = self.encode(pixels, state)
        members = rollouts(self.dynamics, seen, known, actions).float()
        latents = members.mean(dim=0)
        readouts = {name: head(latents) for name, head in self.heads.items()}
        uncertainty = None
        if len(members) > 1:
            last = seen[:, -1].repeat_interleave(len(actions) // len(seen), dim=0)
            uncertainty = self.calibration(signs_of(members, last))
        return Imagined(latents, uncertainty, readouts)

    @torch.no_grad()
    def plan(
        self,
        pixels: Tensor,
        goal: Goal,
        planner: Planner | None = None,
        horizon: int = 8,
        mean: Tensor | None = None,
        final: float = 1.0,
        seed: int = 0,
        state: Tensor | None = None,
    ) -> Plan:
        """Plan from what is seen to a goal; each planned action is held for `frame_skip` steps.

        Args:
            pixels: what is seen, uint8 (E, C, H, W) or (C, H, W).
            goal: what to reach, see Goal.
            planner: the search; CEM with its defaults if none is given.
            horizon: planned actions K.
            mean: where the search starts, (E, K, A); the middle of the bounds if none is given.
            final: weight of the last imagined latent in the cost, the mean over time has the rest.
            seed: seeds the search.
            state: of what is seen, (E, P) or (P,), where the model reads it.

        Returns:
            A Plan with actions (E, K, A) within the bounds.

        Raises:
            UserError: if the goal's shape does not fit, it lacks the state that the model reads, or it is a sentence
                and the model has no text.
        """
        pixels = pixels if pixels.ndim == 4 else pixels[None]
        low, high = self.bounds.low, self.bounds.high
        mean = (low + high).div(2).expand(len(pixels), horizon, -1) if mean is None else mean.to(self.device)
        std = (high - low).div(2).expand_as(mean)
        generator = torch.Generator().manual_seed(seed)
        latents = self._latents(Observation(pixels, state))
        cost = action_cost(self.dynamics, latents[:, None], self.goal_cost(goal, pixels.shape[0], final))
        # The search alone: for a frame or two, to bring an encoder's weights to bfloat16 takes longer than it saves.
        with mixed(self.device.type):
            return (planner or CEM()).plan(cost, mean, std, low, high, generator)

    def goal_cost(self, goal: Goal, environments: int, final: float = 1.0) -> LatentCost:
        """The cost of imagined latents (E, S, K, N, D) for a goal; see `plan`."""
        if isinstance(goal, Tensor | Observation):
            wanted = goal if isinstance(goal, Observation) else Observation(goal)
            if self.frames.state_dim and wanted.state is None:
                raise UserError(
                    f"plan: the goal is an image alone, but this model reads the state, {self.frames.state_dim} "
                    "numbers, beside it; give both, as Observation(pixels, state)"
                )
            latents = self._latents(wanted)
            if len(latents) not in (1, environments):
                raise UserError(
                    f"plan: got {len(latents)} goal images; expected 1 or {environments}, one an environment"
                )
            return goal_distance(latents, final)
        if self.text is None:
            raise UserError("plan: the goal is a sentence, but this model has no text alignment; train one with it")
        text = self.text
        sentences = [goal] if isinstance(goal, str) else goal
        if len(sentences) not in (1, environments):
            raise UserError(f"plan: got {len(sentences)} sentences; expected 1 or {environments}, one an environment")
        vectors = text.text(sentences)[:, None, None]
        return dissimilarity(lambda latents: text.similarity(latents, vectors), final)

    def _latents(self, seen: Observation) -> Tensor:
        """The latents (E, N, D) of one frame of each environment."""
        pixels = seen.pixels if seen.pixels.ndim == 4 else seen.pixels[None]
        if seen.state is None:
            return self.encode(pixels[:, None])[:, 0]
        state = seen.state if seen.state.ndim == 2 else seen.state[None]
        if len(state) != len(pixels):
            raise UserError(f"plan: got {len(pixels)} images with {len(state)} states; expected one state for each")
        return self.encode(pixels[:, None], state[:, None])[:, 0]
