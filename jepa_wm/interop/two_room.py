"""Two rooms as stable-worldmodel has them: a disc, which is where it is and nothing else."""

from typing import Any

import numpy as np

from jepa_wm.interop.state_only import StateOnly


class TwoRoom(StateOnly):
    """Set to what was recorded; arguments as `StateOnly`'s."""

    def restore(self, state: np.ndarray) -> np.ndarray:
        """See `Restorable`."""
        self.get_wrapper_attr("_set_state")(state)
        return self._state(None, self.get_wrapper_attr("_get_info")())

    def snapshot(self) -> Any:
        """See `Restorable`."""
        return self.get_wrapper_attr("agent_position")

    def resume(self, snapshot: Any) -> None:
        """See `Restorable`."""
        self.set_wrapper_attr("agent_position", snapshot)
