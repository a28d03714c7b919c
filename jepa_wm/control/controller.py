"""A policy that plans: receding horizon in latent space."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepa_wm.contracts import Planner
from jepa_wm.errors import UserError
from jepa_wm.observations import Goal, Observation
from jepa_wm.world_model import WorldModel


@dataclass(frozen=True)
class Search:
    """How a controller plans.

    Args:
        planner: the search.
        horizon: planned actions K.
        replan: planned actions that are done before the next plan.
        final: weight of the last imagined latent in the cost; the mean over time has the rest.

    Raises:
        UserError: if `replan` is not within 1 … `horizon`.
    """

    planner: Planner
    horizon: int = 8
    replan: int = 1
    final: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.replan <= self.horizon:
            raise UserError(
                f"search: got replan {self.replan} and horizon {self.horizon}; expected 1 <= replan <= horizon"
            )


class Controller:
    """Plan, act on the first planned actions, plan again from what is seen then.

    All environments are planned as one batch. A planned action is held for the model's frame skip.
    The next search starts from the last plan, shifted by what has been done of it.

    Args:
        model: the world model.
        goal: what to reach, an image, with its state where the model reads it, or a sentence for each environment, see
            `jepa_wm.observations.Goal`.
        search: how to plan.
        seed: seeds the searches.
    """

    def __init__(self, model: WorldModel, goal: Goal, search: Search, seed: int = 0) -> None:
        self.model, self.goal, self.search, self.seed = model, goal, search, seed
        self.steps = 0
        self.plans = 0
        self._actions: Tensor | None = None

    def act(self, pixels: np.ndarray, active: np.ndarray | None = None, state: np.ndarray | None = None) -> np.ndarray:
        """What is seen, uint8 (E, C, H, W), to actions (E, A).

        Args:
            pixels: a frame of each environment.
            active: bool (E,), environments to plan for; the others get zeros. All if none is given.
            state: of each environment, float32 (E, P), where the model reads it.
        """
        if active is None:
            active = np.ones(len(pixels), dtype=bool)
        block = self.steps // self.model.dynamics.frame_skip % self.search.replan
        if self.steps % (self.model.dynamics.frame_skip * self.search.replan) == 0:
            seen = Observation(torch.from_numpy(pixels), None if state is None else torch.from_numpy(state))
            self._plan(seen.of(torch.from_numpy(active)), torch.from_numpy(active))
        assert self._actions is not None
        self.steps += 1
        return (self._actions[:, block] * torch.from_numpy(active)[:, None]).numpy()

    def _plan(self, seen: Observation, active: Tensor) -> None:
        done = self.search.replan
        if self._actions is None:
            self._actions = torch.zeros(len(active), self.search.horizon, self.model.dynamics.action_dim)
        shifted = torch.cat([self._actions[:, done:], torch.zeros_like(self._actions[:, :done])], dim=1)
        self._actions = shifted
        if not active.any():
            return
        plan = self.model.plan(
            seen.pixels,
            self._goal_of(active),
            self.search.planner,
            mean=shifted[active],
            final=self.search.final,
            seed=self.seed + self.plans,
            state=seen.state,
        )
        self._actions[active] = plan.actions.cpu()
        self.plans += 1

    def _goal_of(self, active: Tensor) -> Goal:
        if isinstance(self.goal, Tensor | Observation):
            return (self.goal if isinstance(self.goal, Observation) else Observation(self.goal)).of(active)
        if isinstance(self.goal, str):
            return self.goal
        return [sentence for sentence, keep in zip(self.goal, active.tolist(), strict=True) if keep]
