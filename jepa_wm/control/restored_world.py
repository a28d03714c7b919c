"""Any gymnasium environment that can be put at a state, many episodes side by side in one simulator."""

import atexit
import copy
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from jepa_wm.control.shown import Shown
from jepa_wm.envs.restorable import Restorable
from jepa_wm.envs.state_env import StateVectorEnv
from jepa_wm.errors import UserError

METHODS = ("restore", "snapshot", "resume", "reached")
NEAR = 1e-3
"""How far a restored state may be from the recorded one, in parts of it: what is recorded is float32."""


class Now(NamedTuple):
    """Where one episode is: the simulator's snapshot, and what was observed last."""

    snapshot: Any
    observation: Any


class Simulator:
    """An environment that can be put at a state, with its pictures.

    Every use begins with `restore` or `resume`, so that one serves all.

    Args:
        environment: gymnasium id.

    Raises:
        UserError: if it cannot be made or put at a state, or its actions are no numbers between bounds.
    """

    def __init__(self, environment: str) -> None:
        self.environment, self.shown = environment, Shown(environment, 1)
        missing = [name for name in METHODS if not self.shown.world.has_wrapper_attr(name)]
        space = self.shown.world.action_space
        if missing:
            raise UserError(
                f"plan: the goals of {environment} are not known; expected a world of ours, or an environment with "
                f"{', '.join(METHODS)}, see docs/protocols.md; {', '.join(missing)} is missing"
            )
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or not space.is_bounded():
            raise UserError(f"plan: {environment} has actions {space}; expected a row of numbers between bounds")
        self.action_space = space
        self.restorable = cast(Restorable, _Methods(self.shown.world))
        # MuJoCo cannot free what draws once Python has begun to end.
        atexit.register(self.shown.world.close)
        self.shown.world.reset(seed=0)

    def restore(self, state: np.ndarray) -> Now:
        """An episode at a recorded state (P,).

        Raises:
            UserError: if the environment is elsewhere then.
        """
        observation = self.restorable.restore(state)
        found = self.shown.state(observation)
        if found.shape != state.shape or not np.allclose(found, state, rtol=NEAR, atol=NEAR):
            raise UserError(
                f"plan: {self.environment} was put at {state.tolist()} and observes {found.tolist()}; expected the "
                "same: its restore() must take what it observes"
            )
        return Now(self.restorable.snapshot(), observation)

    def step(self, now: Now, action: np.ndarray) -> Now:
        """An episode one action (A,) later; what the environment says of its end is not asked."""
        self.restorable.resume(now.snapshot)
        inside = np.clip(action, self.action_space.low, self.action_space.high)
        observation, *_ = self.shown.world.step(inside.astype(self.action_space.dtype))
        return Now(self.restorable.snapshot(), observation)


class _Methods:
    """The methods of `Restorable`, in whatever wrapper they are."""

    def __init__(self, world: gymnasium.Env[Any, Any]) -> None:
        self.restore, self.snapshot, self.resume, self.reached = map(world.get_wrapper_attr, METHODS)


@cache
def simulator(environment: str) -> Simulator:
    """The simulator of an environment: there is one, since to make it takes long, and memory.

    Raises:
        UserError: as `Simulator`.
    """
    return Simulator(environment)


class RestoredWorld(StateVectorEnv):
    """E episodes in one simulator, which goes from one to the other at each step.

    Pictures are drawn only where they are looked at: in a simulator they take longer than a step.

    Args:
        environment: gymnasium id.
        size: pixels a side.
        num_envs: E.

    Raises:
        UserError: as `Simulator`.
    """

    def __init__(self, environment: str, size: int, num_envs: int) -> None:
        self.simulator, self.num_envs = simulator(environment), num_envs
        self.shown = copy.copy(self.simulator.shown)
        self.shown.size = size
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.DISABLED}
        self.single_action_space = self.simulator.action_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.factor_values = {}
        self._now: list[Now] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin at `options["state"]` (E, P), where `options["reset_mask"]` is set if it is given.

        Nothing is left to chance, and the goal is not told.
        """
        assert options is not None and len(options["state"]) == self.num_envs
        begun = np.flatnonzero(options.get("reset_mask", np.ones(self.num_envs, dtype=bool))).tolist()
        now = dict(enumerate(self._now)) | {i: self.simulator.restore(options["state"][i]) for i in begun}
        return self._arrive([now[i] for i in range(self.num_envs)]), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act in every environment: actions (E, A), brought within the bounds."""
        found = self._arrive([self.simulator.step(*each) for each in zip(self._now, actions, strict=True)])
        never = np.zeros(self.num_envs, bool)
        return found, np.zeros(self.num_envs), never, never, {}

    def look(self, where: np.ndarray) -> np.ndarray:
        return self._pictures([self._now[i] for i in np.flatnonzero(where).tolist()])

    def render_states(self, states: np.ndarray) -> np.ndarray:
        return self._pictures([self.simulator.restore(state) for state in states])

    def _arrive(self, now: list[Now]) -> dict[str, np.ndarray]:
        self._now = now
        self.state = np.stack([self.shown.state(each.observation) for each in now])
        return {"state": self.state.copy()}

    def _pictures(self, now: Sequence[Now]) -> np.ndarray:
        frames = np.zeros((len(now), 3, self.shown.size, self.shown.size), np.uint8)
        for frame, each in zip(frames, now, strict=True):
            self.simulator.restorable.resume(each.snapshot)
            frame[:] = self.shown.frame(each.observation)
        return frames
