"""Our planners in the place of stable-worldmodel's solvers."""

from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from jepa_wm.contracts import Budget, Planner
from jepa_wm.dynamics.bounds import ROUNDING
from jepa_wm.envs.action_spaces import fits
from jepa_wm.errors import UserError
from jepa_wm.interop.units import ActionUnits
from jepa_wm.search import Search


class Costable(Protocol):
    """What a solver asks of a model: LeWM of stable-worldmodel 0.1.1 has it, and `SolverCost` of any `WorldModel`."""

    def get_cost(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """What candidates (E, S, K, block * A) cost, (E, S), given what is seen, (E, S, T, …), and the goal."""
        ...


class PlannerSolver:
    """A planner as stable-worldmodel's `WorldModelPolicy` wants its solver.

    It searches in the policy's units, as their solvers do, from mean 0, or the last plan's rest, and spread 1. Unlike
    theirs it stays within the bounds, plans all environments as one batch, and carries out the best candidate that it
    has judged instead of the last mean.

    Args:
        model: what candidates cost.
        planner: the search.
        units: of the candidates; the same as the policy's `process["action"]`.
        seed: seeds the searches.
        batch: environments whose candidates are judged at once; all of them if no number is given. LeWM of 0.1.1 needs
            1: its costs of several environments are an error, or those of one another's goals.
        budget: what each may spend, in place of the planner's number of rounds.

    Raises:
        UserError: if the planner starts from a model's proposal, which a solver is not told, or makes choices, which
            actions in units are not.

    Source: `Solver` of stable-worldmodel 0.1.1.
    """

    def __init__(
        self,
        model: Costable,
        planner: Planner,
        units: ActionUnits,
        seed: int = 0,
        batch: int | None = None,
        budget: Budget | None = None,
    ) -> None:
        if getattr(planner, "proposes", False) or Search(planner).one_hot:
            does = "makes choices" if Search(planner).one_hot else "starts from what a model proposes"
            raise UserError(
                f"PlannerSolver: got {type(planner).__name__}, which {does}; expected one that searches among numbers "
                "from nowhere, as jepa_wm.planning.CEM does"
            )
        self.model, self.planner, self.units, self.seed, self.batch = model, planner, units, seed, batch
        self.budget = budget
        self.plans = 0

    def configure(self, *, action_space: Any, n_envs: int, config: Any) -> None:
        """Take in what the policy says of the environments and of its plans.

        Raises:
            UserError: if the units stand for actions that are not in the action space.
        """
        low, high = self.units.low, self.units.high
        ours = np.tile(low, n_envs), np.tile(high, n_envs)
        if not isinstance(action_space, spaces.Box) or not fits(action_space, *ours, ROUNDING):
            raise UserError(
                f"PlannerSolver: got an action space {action_space}; expected of each environment the {len(low)} "
                f"numbers of the units, {low.tolist()} to {high.tolist()}: make ActionUnits of its actions"
            )
        self.n_envs, self.horizon = n_envs, config.horizon
        self.action_dim = len(low) * config.action_block

    def __call__(self, info_dict: dict[str, Any], init_action: Tensor | None = None) -> dict[str, Any]:
        """The same as `solve`."""
        return self.solve(info_dict, init_action)

    @torch.no_grad()
    def solve(self, info_dict: dict[str, Any], init_action: Tensor | None = None) -> dict[str, Any]:
        """Plan for the environments of an info.

        Args:
            info_dict: what is seen, a row of each value an environment.
            init_action: where the search starts, (E, k, block * A), the first k blocks of `horizon`.

        Returns:
            `actions` (E, K, block * A) in the units of the policy; `costs`, a list of E; and the `trace` of the `Plan`.
        """
        environments = len(next(iter(info_dict.values())))
        mean = torch.zeros(environments, self.horizon, self.action_dim)
        if init_action is not None:
            mean[:, : init_action.shape[1]] = init_action
        low, high = (bound.repeat(self.action_dim // len(bound)) for bound in self.units.bounds())
        size = self.batch or environments
        slices = [slice(start, start + size) for start in range(0, environments, size)]
        infos: dict[int, list[dict[str, Any]]] = {}

        def cost(candidates: Tensor) -> Tensor:
            samples = candidates.shape[1]
            # Models keep in an info what they have encoded, for as many samples as they were asked for.
            if samples not in infos:
                infos[samples] = [expanded(_of(info_dict, rows), samples) for rows in slices]
            judged = zip(infos[samples], slices, strict=True)
            return torch.cat([self.model.get_cost(info, candidates[rows]) for info, rows in judged])

        generator = torch.Generator().manual_seed(self.seed + self.plans)
        self.plans += 1
        plan = self.planner.plan(cost, mean, torch.ones_like(mean), low, high, generator, self.budget)
        return {"actions": plan.actions, "costs": plan.cost.tolist(), "trace": plan.trace}


def _of(info: dict[str, Any], rows: slice) -> dict[str, Any]:
    return {
        name: value[rows] if isinstance(value, Tensor | np.ndarray | list) else value for name, value in info.items()
    }


def expanded(info: dict[str, Any], samples: int) -> dict[str, Any]:
    """What is seen, for each of S candidates of an environment: (E, …) -> (E, S, …), without copying tensors."""
    found: dict[str, Any] = {}
    for name, value in info.items():
        if isinstance(value, Tensor):
            # Their models compute in float32, and states come in float64.
            value = (value.float() if value.is_floating_point() else value)[:, None]
            found[name] = value.expand(-1, samples, *value.shape[2:])
        else:
            found[name] = np.repeat(value[:, None], samples, axis=1) if isinstance(value, np.ndarray) else value
    return found
