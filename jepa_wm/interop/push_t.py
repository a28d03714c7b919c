"""Push-T as stable-worldmodel has it: a pusher and a block, moved by pymunk."""

import math
from typing import Any

import numpy as np

from jepa_wm.interop.state_only import StateOnly

PARTS = ("space", "agent", "block")


class PushT(StateOnly):
    """Set to what was recorded; arguments as `StateOnly`'s.

    The block's velocity and its contacts are not recorded: it begins at rest, as in their own evaluation. There a
    hundredth of a second passes as well, in which the pusher goes on by up to some pixels; here none does.
    """

    def restore(self, state: np.ndarray) -> np.ndarray:
        """See `Restorable`."""
        numbers = np.asarray(state, np.float64).tolist()
        self.get_wrapper_attr("_setup")()
        space, pusher, block = self.snapshot()
        pusher.position, pusher.velocity = numbers[:2], numbers[5:]
        # It is placed by another point than it turns about.
        block.angle = numbers[4]
        block.position = numbers[2:4]
        for body in (pusher, block):
            # What is drawn is else where it was.
            space.reindex_shapes_for_body(body)
        found = self._state({"state": self.get_wrapper_attr("_get_obs")()}, {})
        # A whole turn may be read as none.
        found[4] = numbers[4] + math.remainder(found[4] - numbers[4], 2 * math.pi)
        return found

    def snapshot(self) -> Any:
        """See `Restorable`: a space itself, since no copy of it remembers contacts as it does."""
        return [self.get_wrapper_attr(name) for name in PARTS]

    def resume(self, snapshot: Any) -> None:
        """See `Restorable`."""
        for name, part in zip(PARTS, snapshot, strict=True):
            self.set_wrapper_attr(name, part)
