"""What an environment must be able to do for recorded states to be starts and goals in it."""

from typing import Any, Protocol

import numpy as np


class Restorable(Protocol):
    """What planning asks of a gymnasium environment, or of a wrapper around it, beside `reset`, `step` and `render`.

    A state is what `jepa-wm collect` records: the observation without its pictures, float32 (P,).
    """

    def restore(self, state: np.ndarray) -> Any:
        """Put it at a recorded state (P,), whatever went before; what is observed there."""
        ...

    def snapshot(self) -> Any:
        """All there is to it now, which may be more than a state, so that it can go on from there.

        An episode goes on from its latest snapshot alone, which may be the simulator itself.
        """
        ...

    def resume(self, snapshot: Any) -> None:
        """Go on from what `snapshot` gave, as if no other episode had been played since."""
        ...

    def reached(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Where states (E, P) satisfy goals (E, P), bool (E,)."""
        ...
