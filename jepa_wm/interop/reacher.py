"""Reacher of dm_control, as stable-worldmodel has it: two joints, each to be bent as in the goal."""

from typing import Any

from jepa_wm.interop.state_only import Simulated


class Reacher(Simulated):
    """Set to what was recorded; arguments as `Simulated`'s."""

    def _simulation(self) -> tuple[Any, Any]:
        physics = self.get_wrapper_attr("dmc_env").physics
        return physics.model.ptr, physics.data.ptr

    def _info(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get_wrapper_attr("info")
        return found

    def _begin(self) -> None:
        # After a thousand steps, of whatever episodes, it would begin anew by itself.
        self.get_wrapper_attr("dmc_env").reset()
