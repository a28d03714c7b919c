"""An environment that can be put at a recorded state."""

import gymnasium
import numpy as np
from gymnasium import spaces

CART = "tests/Cart-v0"


class Cart(gymnasium.Env):
    """Pushed along a line; the longer it was pushed the slower it is, which its state does not say."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(np.array([-2, -1], np.float32), np.array([2, 1], np.float32))
    drawn = 0

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.place, self.wear = np.zeros(2), 0.0

    def reset(self, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        self.place, self.wear = self.np_random.uniform(-1, 1, 2), 0.0
        return self.place.astype(np.float32), {}

    def step(self, action):  # type: ignore[no-untyped-def]
        assert self.action_space.contains(action)
        self.wear += float(np.abs(action).sum())
        self.place = self.place + action / (10 + 0.002 * self.wear)
        # A goal of its own ends an episode that is recorded, not one that is planned in.
        return self.place.astype(np.float32), 0.0, bool(self.place[1] > 2), False, {}

    def render(self) -> np.ndarray:
        Cart.drawn += 1
        return np.full((8, 8, 3), np.clip(100 + 50 * self.place[0], 0, 255), np.uint8)

    def restore(self, state: np.ndarray) -> np.ndarray:
        self.place, self.wear = state.astype(float), 0.0
        return self.place.astype(np.float32)

    def snapshot(self) -> tuple[np.ndarray, float]:
        return self.place, self.wear

    def resume(self, snapshot: tuple[np.ndarray, float]) -> None:
        self.place, self.wear = snapshot

    def reached(self, states: np.ndarray, goals: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(states - goals).max(axis=-1) < 0.1)


gymnasium.register(CART, entry_point=Cart)
