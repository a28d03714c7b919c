"""stable-worldmodel's environments: what there is to know of the four that LeWM is measured in."""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jepa_wm.errors import UserError

PREFIX = "swm/"

Rule = Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], np.ndarray]
"""Columns of states and of goals, (E, …) each -> whether the states meet the goals, (E,)."""


@dataclass(frozen=True)
class Protocol:
    """How an environment is recorded, set to a recorded state, given a goal, and when that is met.

    Args:
        columns: what of its info or observation makes up a state, each with its width: what `jepa-wm collect` records.
        calls: the environment's methods that set state and goal, by the column that each argument takes.
        rule: when a goal is met; their environments end an episode by the same.
        options: what the environment is made with where their `World` evaluates.
        recording: what it is made with beside these where we record and plan.

    Source: scripts/plan/config of stable-worldmodel (commit addbab4); the goal of TwoRoom is set by what 0.1.1 records.
    """

    columns: dict[str, int]
    calls: dict[str, dict[str, str]]
    rule: Rule
    options: dict[str, Any] = field(default_factory=dict)
    recording: dict[str, Any] = field(default_factory=dict)

    def split(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """States (…, P) -> their columns."""
        ends = np.cumsum(list(self.columns.values()))
        if state.shape[-1] != ends[-1]:
            raise UserError(
                f"stable-worldmodel: got states of {state.shape[-1]} numbers; expected {self.columns}, as `jepa-wm "
                "collect` records them"
            )
        return dict(zip(self.columns, np.split(state, ends[:-1], axis=-1), strict=True))

    def callables(self) -> list[dict[str, Any]]:
        """The calls as `World.evaluate` takes them."""
        return [
            {"method": method, "args": {name: _argument(column) for name, column in arguments.items()}}
            for method, arguments in self.calls.items()
        ]


def _argument(column: str) -> dict[str, Any]:
    if column.isdigit():
        return {"value": int(column), "in_dataset": False}
    return {"value": column, "in_dataset": True}


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=-1)


def _near(states: dict[str, np.ndarray], goals: dict[str, np.ndarray]) -> np.ndarray:
    return _apart(states["state"], goals["state"]) < 16


def _posed(states: dict[str, np.ndarray], goals: dict[str, np.ndarray]) -> np.ndarray:
    state, goal = states["state"], goals["state"]
    turned = np.abs(goal[..., 4] - state[..., 4])
    turned = np.minimum(turned, 2 * np.pi - turned)
    return (_apart(state[..., :4], goal[..., :4]) < 20) & (turned < np.pi / 9)


def _bent(states: dict[str, np.ndarray], goals: dict[str, np.ndarray]) -> np.ndarray:
    return (np.abs(states["qpos"] - goals["qpos"]) < 0.05).all(axis=-1)


def _placed(states: dict[str, np.ndarray], goals: dict[str, np.ndarray]) -> np.ndarray:
    return _apart(states["block_0_pos"], goals["block_0_pos"]) <= 0.04


STATE = {"_set_state": {"state": "state"}, "_set_goal_state": {"goal_state": "goal_state"}}
JOINTS = {"set_state": {"qpos": "qpos", "qvel": "qvel"}}
TARGET = {"set_target_pos": {"cube_id": "0", "target_pos": "goal_block_0_pos", "target_quat": "goal_block_0_quat"}}
CUBE = {"env_type": "single", "ob_type": "states", "multiview": False, "width": 224, "height": 224}

PROTOCOLS = {
    "swm/TwoRoom-v1": Protocol({"state": 2}, STATE, _near),
    "swm/PushT-v1": Protocol({"state": 7}, STATE, _posed),
    "swm/ReacherDMControl-v0": Protocol(
        {"qpos": 2, "qvel": 2},
        JOINTS | {"set_target_qpos": {"target_qpos": "goal_qpos"}},
        _bent,
        {"task": "qpos_match"},
    ),
    "swm/OGBCube-v0": Protocol(
        {"qpos": 21, "qvel": 20, "block_0_pos": 3, "block_0_quat": 4},
        JOINTS | TARGET,
        _placed,
        CUBE | {"visualize_info": False, "terminate_at_goal": True},
        # Cubes lie anywhere, and one that is where it was to be does not end the episode.
        {"mode": "data_collection", "terminate_at_goal": False},
    ),
}
"""What is known, by id; the others can be recorded, but not be evaluated in."""


def protocol_of(environment: str) -> Protocol:
    """What is known of an environment.

    Raises:
        UserError: if nothing is.
    """
    if environment not in PROTOCOLS:
        raise UserError(
            f"stable-worldmodel: no goals are known in {environment}; expected one of {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[environment]


def package() -> Any:
    """stable-worldmodel, which registers its environments when it is imported.

    Raises:
        UserError: if it is not installed.
    """
    # Where nothing is said MuJoCo looks for a screen; and after EGL has loaded Mesa, importing torchvision ends the
    # process without a word.
    os.environ.setdefault("MUJOCO_GL", "egl")
    importlib.import_module("torchvision")
    try:
        import stable_worldmodel
    except ImportError as error:
        raise UserError(
            f"stable-worldmodel cannot be imported ({error}); it is an extra: pip install 'jepa_wm[swm]'"
        ) from error
    return stable_worldmodel
