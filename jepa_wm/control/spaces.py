"""A world model's actions, which are vectors, in the action space of an environment."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from jepa_wm.dynamics.bounds import ROUNDING, ActionBounds
from jepa_wm.envs.action_spaces import fits
from jepa_wm.errors import UserError
from jepa_wm.planning import Amortised, CategoricalCEM
from jepa_wm.search import Search

Environment = gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]


class Actions:
    """The actions of an environment, or of each of several: numbers as they are, the others as one-hot vectors.

    Args:
        env: single or vectorised.
        bounds: what the model knows.

    Raises:
        UserError: if the environment's actions are others than the model's.
    """

    def __init__(self, env: Environment, bounds: ActionBounds) -> None:
        self.space = env.single_action_space if isinstance(env, VectorEnv) else env.action_space
        self.begins_late = isinstance(env, VectorEnv) and env.metadata.get("autoreset_mode") is AutoresetMode.NEXT_STEP
        """Whether an environment that has ended takes a step of no effect to begin anew."""
        # NumPy has no bfloat16, in which a model may be, its bounds with it.
        low, high = (side.cpu().float().numpy() for side in (bounds.low, bounds.high))
        if not fits(self.space, low, high, max(ROUNDING, torch.finfo(bounds.low.dtype).eps)):
            raise UserError(
                f"controller: got an environment with actions {self.space}; expected {len(low)} numbers between "
                f"{low.tolist()} and {high.tolist()}, or as many choices, as the model was trained on"
            )

    def of(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (E, A) as actions of E environments; of what is chosen, the choice with the largest number."""
        space = self.space
        if isinstance(space, spaces.Box):
            inside = np.clip(vectors.reshape(-1, *space.shape), space.low, space.high)
            whole = np.issubdtype(space.dtype, np.integer)
            return np.asarray(np.rint(inside) if whole else inside, dtype=space.dtype)
        if isinstance(space, spaces.MultiBinary):
            return np.asarray(vectors.reshape(-1, *space.shape) > 0.5, dtype=space.dtype)
        assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
        sizes = space.nvec.ravel() if isinstance(space, spaces.MultiDiscrete) else [vectors.shape[1]]
        parts: list[np.ndarray] = np.split(vectors, np.cumsum(sizes)[:-1], axis=1)
        chosen = np.stack([part.argmax(axis=1) for part in parts], axis=1)
        return np.asarray(chosen.reshape(len(vectors), *(space.shape or ())) + space.start, dtype=space.dtype)


def narrow(bounds: ActionBounds, space: gymnasium.Space[Any]) -> None:
    """Bring what is searched for a model within an environment's bounds: of packed data only a spread is known.

    Where they have nothing in common it stays as it is, which `Actions` refuses.
    """
    if not isinstance(space, spaces.Box) or space.shape != bounds.low.shape:
        return
    low, high = (torch.as_tensor(side).to(bounds.low) for side in (space.low, space.high))
    if (low <= bounds.high).all() and (bounds.low <= high).all():
        bounds.low.copy_(bounds.low.clamp(low, high))
        bounds.high.copy_(bounds.high.clamp(low, high))


def usual_search(actions: Actions | None) -> Search:
    """How to plan where nobody says it."""
    chosen = actions is not None and isinstance(actions.space, spaces.Discrete)
    return Search(CategoricalCEM()) if chosen else Search()


def check_planner(search: Search, space: gymnasium.Space[Any]) -> None:
    """Refuse a planner that judges other actions than would be done in an action space; `Amortised` searches none.

    Raises:
        UserError: if it does.
    """
    name = type(search.planner).__name__
    if search.one_hot and not isinstance(space, spaces.Discrete):
        raise UserError(
            f"controller: got {name}, which makes one choice a step, for actions {space}; expected a Discrete space, "
            "or another planner"
        )
    if not (search.one_hot or isinstance(space, spaces.Box) or isinstance(search.planner, Amortised)):
        several = "Amortised, with a model that proposes: no search makes several choices a step"
        wanted = "CategoricalCEM" if isinstance(space, spaces.Discrete) else several
        raise UserError(
            f"controller: got {name}, which judges what lies between choices, for actions {space}: something else "
            f"would be done; expected jepa_wm.planning.{wanted}"
        )
