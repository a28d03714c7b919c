"""Gymnasium environments, registered by importing this module; nothing heavy is imported until one is made."""

import gymnasium

from jepa_wm.envs.language import REGIONS, Region, caption, captions, region_of

TWO_ROOMS = "jepa_wm/TwoRooms-v0"
PUSH_T = "jepa_wm/PushT-v0"
OURS = (TWO_ROOMS, PUSH_T)

gymnasium.register(
    TWO_ROOMS,
    entry_point="jepa_wm.envs.two_rooms:TwoRoomsEnv",
    vector_entry_point="jepa_wm.envs.vector:TwoRoomsVectorEnv",
)
gymnasium.register(
    PUSH_T,
    entry_point="jepa_wm.envs.push_t:PushTEnv",
    vector_entry_point="jepa_wm.envs.push_t:PushTVectorEnv",
)

__all__ = ["OURS", "PUSH_T", "REGIONS", "TWO_ROOMS", "Region", "caption", "captions", "region_of"]
