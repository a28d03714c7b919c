"""A world model: encoder, dynamics and text alignment, saved, loaded and planned with as one."""

from pathlib import Path

import torch
from torch import Tensor, nn

from jepa_wm.checkpoint import find_part, load_module, save_modules
from jepa_wm.contracts import Cost, Dynamics, Encoder, Plan, Planner
from jepa_wm.dynamics.rollout import rollout
from jepa_wm.encoders.text import TextAlignment
from jepa_wm.encoders.vit import encode_frames
from jepa_wm.errors import UserError
from jepa_wm.planning.cem import CEM
from jepa_wm.planning.costs import LatentCost, dissimilarity, goal_distance
from jepa_wm.precision import mixed

Goal = Tensor | str | list[str]
"""Images (E, C, H, W) or one (C, H, W), a sentence, or a sentence for each environment."""


ROWS = 4096
"""Candidates that are rolled out at once."""


class WorldModel(nn.Module):
    """Encode what is seen, imagine what actions lead to, plan towards an image or a sentence.

    Args:
        encoder: pixels to latents.
        dynamics: latents and actions to future latents.
        text: sentences and latents in one space; without it, no sentence can be a goal.
    """

    def __init__(self, encoder: Encoder, dynamics: Dynamics, text: TextAlignment | None = None) -> None:
        super().__init__()
        self.encoder, self.dynamics, self.text = encoder, dynamics, text

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "WorldModel":
        """Load a world model from a run folder (`runs/demo/forecast`) or a saved folder.

        Raises:
            UserError: if the folder lacks a part or a part is broken.
        """
        encoder, dynamics = (load_module(find_part(source, part)) for part in ("encoder", "dynamics"))
        folder = find_part(source, "encoder").parent
        text = load_module(folder / "text") if (folder / "text").is_dir() else None
        return cls(encoder, dynamics, text).eval()  # type: ignore[arg-type]

    def save_pretrained(self, folder: str | Path) -> None:
        """Save everything needed to act into `folder`, as safetensors and JSON."""
        parts: dict[str, nn.Module | None] = {
            "encoder": self.encoder,
            "dynamics": self.dynamics,
            "text": self.text,
        }
        save_modules(folder, {name: part for name, part in parts.items() if part is not None})

    @property
    def device(self) -> torch.device:
        """Where the model is; what it is given is brought there."""
        return next(self.parameters()).device

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels uint8 (B, T, C, H, W) -> latents float32 (B, T, N, D)."""
        return encode_frames(self.encoder, pixels.to(self.device)).float()

    @torch.no_grad()
    def imagine(self, pixels: Tensor, actions: Tensor) -> Tensor:
        """The latents (B, K, N, D) that follow pixels (B, C, H, W) under actions (B, K, frame_skip * A)."""
        latents = self.encode(pixels[:, None])
        actions = actions.to(self.device)
        return rollout(self.dynamics, latents, actions[:, :0], actions)

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
    ) -> Plan:
        """Plan from what is seen to a goal; each planned action is held for `frame_skip` steps.

        Args:
            pixels: what is seen, uint8 (E, C, H, W) or (C, H, W).
            goal: what to reach, see Goal.
            planner: the search; CEM with its defaults if none is given.
            horizon: planned actions K.
            mean: where the search starts, (E, K, A); zeros if none is given.
            final: weight of the last imagined latent in the cost, the mean over time has the rest.
            seed: seeds the search.

        Returns:
            A Plan with actions (E, K, A) in [-1, 1].

        Raises:
            UserError: if the goal's shape does not fit, or it is a sentence and the model has no text.
        """
        pixels = pixels if pixels.ndim == 4 else pixels[None]
        if mean is None:
            mean = torch.zeros(pixels.shape[0], horizon, self.dynamics.action_dim)
        mean = mean.to(self.device)
        high = torch.ones(self.dynamics.action_dim, device=self.device)
        generator = torch.Generator().manual_seed(seed)
        with mixed(self.device.type):
            latents = self.encode(pixels[:, None])
            cost = self._action_cost(latents, self.goal_cost(goal, pixels.shape[0], final))
            return (planner or CEM()).plan(cost, mean, torch.ones_like(mean), -high, high, generator)

    def goal_cost(self, goal: Goal, environments: int, final: float = 1.0) -> LatentCost:
        """The cost of imagined latents (E, S, K, N, D) for a goal; see `plan`."""
        if isinstance(goal, Tensor):
            goal = goal if goal.ndim == 4 else goal[None]
            if goal.shape[0] not in (1, environments):
                raise UserError(
                    f"plan: got {goal.shape[0]} goal images; expected 1 or {environments}, one an environment"
                )
            return goal_distance(self.encode(goal[:, None])[:, 0], final)
        if self.text is None:
            raise UserError("plan: the goal is a sentence, but this model has no text alignment; train one with it")
        text = self.text
        sentences = [goal] if isinstance(goal, str) else goal
        if len(sentences) not in (1, environments):
            raise UserError(f"plan: got {len(sentences)} sentences; expected 1 or {environments}, one an environment")
        vectors = text.text(sentences)[:, None, None]
        return dissimilarity(lambda latents: text.similarity(latents, vectors), final)

    def _action_cost(self, latents: Tensor, latent_cost: LatentCost) -> Cost:
        """Candidates (E, S, K, A), each action held over a block -> costs (E, S)."""

        def cost(candidates: Tensor) -> Tensor:
            environments, samples = candidates.shape[:2]
            blocks = candidates.flatten(0, 1).repeat(1, 1, self.dynamics.frame_skip)
            futures = []
            # On a CPU a slice of environments at a time, small enough for its caches.
            size = max(ROWS // samples, 1) if self.device.type == "cpu" else environments
            for start in range(0, environments, size):
                seen = latents[start : start + size]
                actions = blocks[start * samples : (start + size) * samples]
                futures.append(rollout(self.dynamics, seen, actions[: len(seen), :0], actions))
            return latent_cost(torch.cat(futures).unflatten(0, (environments, samples)))

        return cost
