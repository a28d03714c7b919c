"""stable-worldmodel's environments as ours are: what is observed is a state, and they can be put at one."""

import copy
import importlib
from abc import abstractmethod
from typing import Any

import gymnasium
import numpy as np

from jepa_wm.interop.worlds import Protocol


class StateOnly(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose observation is what its simulator can be set to: a `jepa_wm.envs.restorable.Restorable`.

    A child says how it is set to that.

    Args:
        env: the environment.
        protocol: what makes up its state.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], protocol: Protocol) -> None:
        super().__init__(env)
        self.protocol = protocol
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (sum(protocol.columns.values()),), np.float32)

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """See `gymnasium.Env`."""
        observation, info = self.env.reset(**kwargs)
        return self._state(observation, info), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._state(observation, info), float(reward), bool(terminated), bool(truncated), info

    @abstractmethod
    def restore(self, state: np.ndarray) -> np.ndarray:
        """See `Restorable`."""

    @abstractmethod
    def snapshot(self) -> Any:
        """See `Restorable`."""

    @abstractmethod
    def resume(self, snapshot: Any) -> None:
        """See `Restorable`."""

    def reached(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """See `Restorable`."""
        return self.protocol.rule(self.protocol.split(states), self.protocol.split(goals))

    def _state(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        found = {name.rpartition("/")[2]: value for name, value in info.items()}
        found |= observation if isinstance(observation, dict) else {}
        return np.concatenate([np.asarray(found[name], np.float32).ravel() for name in self.protocol.columns])


class Simulated(StateOnly):
    """One of those that MuJoCo simulates; arguments as `StateOnly`'s.

    A child says where model and data are, and what is known of them. Positions and velocities are not all there is: a
    restored state begins without forces of contact and with fresh kinematics, a snapshot has all of it.
    """

    @abstractmethod
    def _simulation(self) -> tuple[Any, Any]:
        """MuJoCo's model and data."""

    @abstractmethod
    def _info(self) -> dict[str, Any]:
        """What is known of where it is now."""

    def _begin(self) -> None:
        """What must be done before the data is replaced."""

    def restore(self, state: np.ndarray) -> np.ndarray:
        """See `Restorable`."""
        columns = self.protocol.split(np.asarray(state, np.float64))
        self._begin()
        importlib.import_module("mujoco").mj_resetData(*self._simulation())
        self.get_wrapper_attr("set_state")(columns["qpos"], columns["qvel"])
        return self._state(None, self._info())

    def snapshot(self) -> Any:
        """See `Restorable`."""
        return copy.copy(self._simulation()[1])

    def resume(self, snapshot: Any) -> None:
        """See `Restorable`."""
        self._begin()
        model, data = self._simulation()
        importlib.import_module("mujoco").mj_copyData(data, model, snapshot)
