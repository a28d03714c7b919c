"""Our world models under stable-worldmodel's solvers."""

from typing import Any

import torch
from torch import Tensor

from jepa_wm.dynamics.cost import ActionCost
from jepa_wm.errors import UserError
from jepa_wm.interop.units import ActionUnits
from jepa_wm.observations import Observation
from jepa_wm.planning.costs import Distance
from jepa_wm.search import Search
from jepa_wm.world_model import WorldModel

KEPT = "_jepa_wm_cost"
"""Where an info keeps what was encoded: a solver gives the same one in every round, as their own models rely on."""


class SolverCost:
    """What a solver of stable-worldmodel asks of a model: `get_cost`.

    Of what the info holds, the newest frame `pixels` and the picture `goal` are read, both uint8 as the environments
    give them: their policy needs no `transform`. Actions outside the bounds cost what those at the bounds do, which
    are the ones that `units` has the policy carry out.

    Args:
        model: the world model.
        units: of the solver's candidates; `ActionUnits.of(model)` if none are given.
        distance: how far what is imagined is from the goal; that of the last frame, as of LeWM, if none is given.
        state: the info that holds the state, where the model reads it; that of the goal is `goal_<state>`.

    Source: `Costable` of stable-worldmodel 0.1.1. Where their LeWM sums the squares over D, ours are averaged.
    """

    def __init__(
        self,
        model: WorldModel,
        units: ActionUnits | None = None,
        distance: Distance | None = None,
        state: str | None = None,
    ) -> None:
        self.model, self.state = model, state
        self.units = units or ActionUnits.of(model)
        self.distance = distance or Distance(final=1.0)

    def get_cost(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """What candidates (E, S, K, block * A) in the solver's units cost from what is seen, (E, S).

        Args:
            info_dict: `pixels` and `goal`, (E, S, T, H, W, C), the same for all candidates of an environment.
            action_candidates: K blocks of actions.

        Raises:
            UserError: if a picture or the state is missing, a picture was transformed, or a block is not the model's
                frame skip.
        """
        wide = self.model.bounds.frame_skip * self.model.bounds.action_dim
        if action_candidates.shape[-1] != wide:
            raise UserError(
                f"stable-worldmodel: got candidates of {action_candidates.shape[-1]} numbers; expected {wide}: set "
                f"PlanConfig(action_block={self.model.bounds.frame_skip}), the model's frame skip"
            )
        if KEPT not in info_dict:
            info_dict[KEPT] = self._cost(info_dict)
        cost: Tensor = info_dict[KEPT](self.units.blocks(action_candidates.to(self.model.device)))
        return cost.to(action_candidates)

    @torch.no_grad()
    def _cost(self, info: dict[str, Any]) -> ActionCost:
        seen, goal = (self._observation(info, prefix) for prefix in ("", "goal_"))
        search = Search(distance=self.distance, hold=False)
        return self.model.action_cost(self.model.latents_of(seen), goal, search)

    def _observation(self, info: dict[str, Any], prefix: str) -> Observation:
        """What is seen, or with the prefix "goal_" what is to be."""
        name = "goal" if prefix else "pixels"
        pixels = info.get(name)
        if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8 or pixels.ndim != 6 or pixels.shape[-1] != 3:
            got = "nothing" if pixels is None else f"{getattr(pixels, 'dtype', type(pixels))}"
            raise UserError(
                f"stable-worldmodel: got {got} as '{name}'; expected uint8 (E, S, T, H, W, 3) as the environment gives "
                "it: leave transform out of the policy, and evaluate with a data set, which has goals"
            )
        named = None if self.state is None else prefix + self.state
        if named is not None and not isinstance(info.get(named), Tensor):
            raise UserError(f"stable-worldmodel: got no numbers as '{named}'; expected one of {', '.join(info)}")
        state = None if named is None else info[named][:, 0, -1]
        return Observation(pixels[:, 0, -1].movedim(-1, 1), state)
