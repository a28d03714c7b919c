"""A policy that plans: receding horizon in latent space."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from jepa_wm.contracts import Plan
from jepa_wm.control.sight import Sight
from jepa_wm.control.spaces import Actions, Environment, check_planner, usual_search
from jepa_wm.errors import UserError
from jepa_wm.goals import Goal, GoalLike
from jepa_wm.observations import Observation
from jepa_wm.precision import at_least_float32
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

Weights = list[tuple[int, int]]
"""Where each of a model's tensors is, and how often it was written to."""


class Controller:
    """Plan, act on the first planned actions, plan again from what is seen then.

    All environments whose plans are due are planned as one batch. The next search starts from the last plan, shifted by
    what has been done of it, with the middle of the bounds behind it; the first of an episode from the middle. The n-th
    search of an episode has the n-th seed, whatever was planned before it or is planned beside it.

    Attributes:
        cycle: steps from one plan to the next.
        plans: searches so far.
        broken: plans so far that break a constraint, an environment's each: nothing that was tried kept it.
        plan: what the last search found, its trace among it; None before the first.
        planned: the environments that it was for, bool (E,).
        block: which block of its plan each environment is at, (E,).

    Args:
        model: the world model.
        goal: what to reach: an image, a sentence, or any `jepa_wm.goals.Goal`; `controller.goal = …` sets another. It
            is encoded at the first plan, and again where the model's weights have changed since.
        search: how to plan; if it is not said by CEM, or where actions are choices by CategoricalCEM.
        seed: of the first search of an episode; the next has the next.
        env: the gymnasium environment, single or vectorised, whose actions are wanted; vectors if none is given.
        size: side of the pictures that the model was trained on, to which what is seen, and goals that are pictures,
            are fitted; if none is given, they stay as they are. See `Sight`.

    Raises:
        UserError: if the environment's actions are others than the model's, or than the planner searches among.
    """

    planned: np.ndarray
    block: np.ndarray
    _age: np.ndarray
    _ending: np.ndarray
    _settled: tuple[Weights, Goal] | None

    def __init__(
        self,
        model: WorldModel,
        goal: GoalLike,
        search: Search | None = None,
        seed: int = 0,
        env: Environment | None = None,
        size: int | None = None,
    ) -> None:
        self.actions = None if env is None else Actions(env, model.bounds)
        self.model, self.search, self.seed = model, search or usual_search(self.actions), seed
        self.sight = Sight(model, size)
        if self.actions is not None:
            check_planner(self.search, self.actions.space)
        self.goal = goal
        self.plans = self.broken = 0
        self.plan: Plan | None = None
        bounds, dynamics = model.bounds, model.dynamics
        middle = at_least_float32((bounds.low + bounds.high).div(2)).cpu()
        self._middle = middle.repeat(model.widening(self.search))
        self.cycle = dynamics.frame_skip * self.search.replan
        self._start(0)

    @property
    def goal(self) -> Goal:
        """What to reach; pictures are fitted."""
        return self._goal

    @goal.setter
    def goal(self, wanted: GoalLike) -> None:
        """Set another; it counts from the next plan on."""
        self._goal, self._settled = self.sight.goal(wanted), None

    @property
    def blocks(self) -> Tensor:
        """The plan that each environment is at, as blocks of actions (E, K, frame_skip * A)."""
        return self._plans.repeat(1, 1, self.model.dynamics.frame_skip // self.model.widening(self.search))

    def act(self, observation: Any, active: np.ndarray | None = None, state: Any = None) -> np.ndarray:
        """What is seen to what is done: one action for one environment, E for E.

        Args:
            observation: as the environment gives it, a dictionary with "pixels" and perhaps "state"; or pictures, such
                as `env.render()` gives, uint8 with channels first or last. Of one environment, or of E.
            active: bool (E,), environments to plan for; the others get zeros. All if none is given.
            state: float32 (P,) or (E, P), where the model reads it and the observation does not hold it.

        Raises:
            UserError: if there are no pictures in it, or not as many of something as there are environments.
        """
        seen, single = self.sight.see(observation, state)
        if len(seen.pixels) != len(self._age):
            self._start(len(seen.pixels))
        active = self._mask("active", True if active is None else active)
        self.planned = self._due(active)
        if self.planned.any():
            self._search(seen, torch.from_numpy(self.planned))
        self.block, step = np.divmod(self._age % self.cycle, self.model.dynamics.frame_skip)
        done = self._plans[torch.arange(len(self._age)), torch.from_numpy(self.block)]
        steps = done.unflatten(-1, (-1, self.model.dynamics.action_dim)).numpy()
        vectors = steps[np.arange(len(steps)), step % steps.shape[1]] * active[:, None]
        self._age = self._age + active
        self._forget(self._ending)
        actions = vectors if self.actions is None else self.actions.of(vectors)
        return np.asarray(actions[0] if single else actions)

    def is_due(self, active: np.ndarray) -> bool:
        """Whether `act` would look at what is seen, to plan, in one of the environments `active` (E,)."""
        return len(active) != len(self._age) or bool(self._due(active).any())

    def reset(self, ended: Any = None) -> None:
        """Begin anew: plan at once, from what is seen next, without a start from the last plan.

        Call it after each step with `terminated | truncated`. Where environments take a step to begin anew, which
        gymnasium's do by default, it holds from the observation on that follows this step, if `env` was given.

        Args:
            ended: bool (E,), or one for all, environments whose episode has ended; all at once if none is given.

        Raises:
            UserError: if it is not as long as there were observations.
        """
        if not len(self._age):
            return
        mask = self._mask("ended", True if ended is None else ended)
        if ended is not None and self.actions is not None and self.actions.begins_late:
            self._ending = self._ending | mask
        else:
            self._forget(mask)

    def _start(self, environments: int) -> None:
        self._plans = self._middle.repeat(environments, self.search.horizon, 1)
        self._age = np.zeros(environments, dtype=int)
        self._ending = np.zeros(environments, dtype=bool)
        self.planned = self._ending
        self.block = self._age

    def _due(self, active: np.ndarray) -> np.ndarray:
        return active & ~self._ending & (self._age % self.cycle == 0)

    def _mask(self, name: str, told: Any) -> np.ndarray:
        """What is told of environments, one for all or one for each, as bool (E,)."""
        mask, shape = np.asarray(told, dtype=bool), self._age.shape
        if mask.shape not in ((), shape):
            raise UserError(f"controller: got {name} {mask.shape}; expected {shape}, one for each environment")
        return np.broadcast_to(mask, shape)

    def _forget(self, mask: np.ndarray) -> None:
        self._plans[torch.from_numpy(mask.copy())] = self._middle
        self._age = np.where(mask, 0, self._age)
        self._ending = self._ending & ~mask

    @torch.inference_mode(False)
    @torch.no_grad()
    def _search(self, seen: Observation, due: Tensor) -> None:
        done = self.search.replan
        rest = self._middle.expand(int(due.sum()), done, -1)
        mean = torch.cat([self._plans[due][:, done:], rest], dim=1)
        now = seen.of(due)
        self._goal.check(now)
        # Since its episode began, an environment has been planned for once a cycle.
        seeds = self.seed + self._age[self.planned] // self.cycle
        weights = _weights(self.model)
        if self._settled is None or self._settled[0] != weights:
            self._settled = weights, self._goal.settled(self.model)
        last = self._last(due)
        wanted, search = self._settled[1].of(due).after(last), self.search.after(last)
        self.plan = self.model.plan(now.pixels, wanted, search, mean=mean, seed=seeds.tolist(), state=now.state)
        self._plans[due] = self.plan.actions.to(self._plans)
        self.plans += 1
        self.broken += int(self.plan.broken.sum())

    def _last(self, due: Tensor) -> Tensor:
        """The actions (E, A) that were done last where a plan is due; NaN where an episode begins."""
        blocks = self._plans[due][:, self.search.replan - 1]
        done = blocks[:, -self.model.dynamics.action_dim :]
        return done.where(torch.from_numpy(self._age > 0)[due][:, None], torch.nan)


def _weights(model: WorldModel) -> Weights:
    """What differs once a model's weights were trained, loaded or moved; tensors of inference mode do not change."""
    tensors = [*model.parameters(), *model.buffers()]
    return [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
