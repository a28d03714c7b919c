"""One pair of rooms."""

from jepa_wm.envs.single import World
from jepa_wm.envs.vector import TwoRoomsVectorEnv


class TwoRoomsEnv(World):
    """A disc in two rooms joined by doors, as `TwoRoomsVectorEnv` describes them; arguments are `World`'s."""

    vector = TwoRoomsVectorEnv
