"""Two rooms, many at once: every environment is stepped and painted in the same few array operations."""

import numpy as np
from gymnasium import spaces

from jepa_wm.envs import geometry as plane
from jepa_wm.envs.factors import FACTORS
from jepa_wm.envs.options import check_points
from jepa_wm.envs.render import backgrounds, paint_discs
from jepa_wm.envs.world import Values, VectorWorld


class TwoRoomsVectorEnv(VectorWorld):
    """A disc in two rooms joined by doors, E times; arguments and options are `VectorWorld`'s.

    The world is the unit square, x to the right and y down; the state is the disc's centre. An action in
    [-1, 1]^2 displaces it by `action * agent_speed`; at walls it slides. Success is being closer to the goal than
    16/224 of the side (see `geometry.success` for the sources).

    Without options the start is anywhere free, and the goal anywhere in the other room.
    """

    table = FACTORS
    single_state_space = spaces.Box(0, 1, (2,), np.float32)

    def render_states(self, states: np.ndarray) -> np.ndarray:
        values = self.factor_values
        return paint_discs(self._grounds, np.asarray(states), values["agent_size"], values["agent_color"])

    def measure(self, states: np.ndarray, goals: np.ndarray) -> dict[str, np.ndarray]:
        return {"distance": plane.distance(states, goals), "success": plane.success(states, goals)}

    def draw_start(self, values: Values, random: np.random.Generator) -> np.ndarray:
        return sample_start(plane.geometry(values), random)

    def draw_goal(self, values: Values, start: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return sample_goal(plane.geometry(values), start, random)

    def _move(self, actions: np.ndarray) -> np.ndarray:
        displacement = actions * self.factor_values["agent_speed"][:, None]
        return plane.move(plane.geometry(self.factor_values), self.state, displacement)

    def _check(self, name: str, states: np.ndarray, values: Values, mask: np.ndarray) -> None:
        check_points(name, states, plane.geometry(values), mask)

    def _paint(self, values: Values) -> np.ndarray:
        return backgrounds(values, self.size)


def sample_start(world: plane.Geometry, random: np.random.Generator) -> np.ndarray:
    """A free position of the disc in one world, uniform, doorways included: float32 (2,)."""
    margin = plane.BORDER + world.radius[0]
    while True:
        point = random.uniform(margin, 1 - margin, 2).astype(np.float32)
        if plane.overlap(world, point[None])[0] <= 0:
            return point


def sample_goal(world: plane.Geometry, start: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A position in the room that `start` (2,) is not in, uniform, and not already reached: float32 (2,)."""
    margin = plane.BORDER + world.radius[0]
    beyond = 0.5 + world.half[0] + world.radius[0]
    while True:
        point = random.uniform((beyond, margin), (1 - margin, 1 - margin)).astype(np.float32)
        if start[0] >= 0.5:
            point[0] = 1 - point[0]
        if plane.overlap(world, point[None])[0] <= 0 and not plane.success(point[None], start[None])[0]:
            return point
