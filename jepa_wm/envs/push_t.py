"""Push-T, one and many: a disc pushes a T-shaped block about."""

import numpy as np
from gymnasium import spaces

from jepa_wm.envs import tee
from jepa_wm.envs.factors import Color, Factor, Number
from jepa_wm.envs.push_t_physics import advance
from jepa_wm.envs.render import paint_discs, paint_tees
from jepa_wm.envs.single import World
from jepa_wm.envs.world import Values, VectorWorld
from jepa_wm.errors import UserError

FACTORS: dict[str, Factor] = {
    "agent_color": Color("blue", sample=("blue", "red", "purple", "orange"), held_out=("cyan", "pink")),
    "block_color": Color("grey", sample=("grey", "green", "brown", "navy"), held_out=("teal", "maroon")),
    "background_color": Color("white", sample=("white", "ivory", "silver", "sky"), held_out=("mint", "lavender")),
    # The block's size, 1 as published.
    "block_scale": Number(1.0, sample=(0.9, 1.1), held_out=(1.15, 1.3), allowed=(0.7, 1.3)),
}
"""The factors of Push-T by name."""

_STARTS, _BLOCKS = (50 / tee.SIDE, 450 / tee.SIDE), (100 / tee.SIDE, 400 / tee.SIDE)
_LOW = np.array([0, 0, 0, 0, -1, -1, -2, -2], np.float32)
_HIGH = np.array([1, 1, 1, 1, 1, 1, 2, 2], np.float32)


class PushTVectorEnv(VectorWorld):
    """A disc that pushes a T-shaped block, E times; arguments and options are `VectorWorld`'s.

    The state (8,) is described in `tee`, an action in [-1, 1]^2 in `push_t_physics.advance`: it sets the target that
    draws the pusher, relative to the pusher. There are ten steps a second. Success is having pusher and block where
    the goal has them, see `tee.measure`; the goal's velocities mean nothing. The goal is not in the picture.

    Without options start and goal are drawn alike: the pusher at 50 to 450 of 512 px, the block at 100 to 400 px and
    any angle, nothing in contact, the pusher at rest.

    Source: Push-T of Diffusion Policy (gym-pusht) with the relative actions and the protocol of DINO-WM and
    stable-worldmodel. What differs here: see `push_t_physics.advance` and `tee.measure`.
    """

    table = FACTORS
    single_state_space = spaces.Box(_LOW, _HIGH, dtype=np.float32)

    def render_states(self, states: np.ndarray) -> np.ndarray:
        values, states = self.factor_values, np.asarray(states)
        blocks = paint_tees(self._grounds, states, _unit(values), values["block_color"])
        return paint_discs(blocks, states[:, :2], np.full(self.num_envs, tee.RADIUS), values["agent_color"])

    def measure(self, states: np.ndarray, goals: np.ndarray) -> dict[str, np.ndarray]:
        return tee.measure(states, goals)

    def draw_start(self, values: Values, random: np.random.Generator) -> np.ndarray:
        unit = _unit(values)
        while True:
            angle = random.uniform(-np.pi, np.pi)
            pusher, block = random.uniform(*_STARTS, 2), random.uniform(*_BLOCKS, 2)
            state = np.array([*pusher, *block, np.sin(angle), np.cos(angle), 0, 0], np.float32)
            if tee.overlap(state[None], unit)[0] <= 0:
                return state

    def draw_goal(self, values: Values, start: np.ndarray, random: np.random.Generator) -> np.ndarray:
        while True:
            goal = self.draw_start(values, random)
            if not tee.measure(start[None], goal[None])["success"][0]:
                return goal

    def _move(self, actions: np.ndarray) -> np.ndarray:
        scales = self.factor_values["block_scale"].tolist()
        return np.stack([advance(*each) for each in zip(self.state, actions, scales, strict=True)])

    def _check(self, name: str, states: np.ndarray, values: Values, mask: np.ndarray) -> None:
        facing = np.abs((states[:, 4:6] ** 2).sum(-1) - 1) < 1e-3
        # A played state may overlap a little, and can be given back.
        free = tee.overlap(states, _unit(values)) < tee.RADIUS
        wrong = ~(np.isfinite(states).all(-1) & facing & free) & mask
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            raise UserError(
                f"reset: option '{name}' of environment {i}: got {states[i].tolist()}; expected finite numbers: the "
                "pusher's x and y, the block's x and y, sine and cosine of its angle, the pusher's velocity; both "
                "free of each other and of the walls"
            )

    def _paint(self, values: Values) -> np.ndarray:
        colors = values["background_color"][:, :, None, None]
        return np.broadcast_to(colors, (len(colors), 3, self.size, self.size))


class PushTEnv(World):
    """A disc that pushes a T-shaped block, as `PushTVectorEnv` describes them; arguments are `World`'s."""

    vector = PushTVectorEnv


def _unit(values: Values) -> np.ndarray:
    return values["block_scale"] * tee.UNIT
