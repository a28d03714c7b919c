"""Make stable-worldmodel's environments, to record and to plan in."""

from typing import Any

import gymnasium

from jepa_wm.interop.cube import Cube
from jepa_wm.interop.push_t import PushT
from jepa_wm.interop.reacher import Reacher
from jepa_wm.interop.state_only import StateOnly
from jepa_wm.interop.two_room import TwoRoom
from jepa_wm.interop.worlds import PROTOCOLS, package

RESTORED: dict[str, type[StateOnly]] = {
    "swm/TwoRoom-v1": TwoRoom,
    "swm/PushT-v1": PushT,
    "swm/ReacherDMControl-v0": Reacher,
    "swm/OGBCube-v0": Cube,
}
"""How each whose protocol is known is put at a recorded state, by id."""


def make(environment: str) -> gymnasium.Env[Any, Any]:
    """An environment of theirs that renders; where its protocol is known, it observes the state it can be set to.

    Raises:
        UserError: if stable-worldmodel is not installed.
    """
    package()
    if environment not in PROTOCOLS:
        return gymnasium.make(environment, render_mode="rgb_array")
    protocol = PROTOCOLS[environment]
    options = {**protocol.options, **protocol.recording}
    # Their observations and infos break rules that gymnasium's checker warns of at every step.
    world = gymnasium.make(environment, render_mode="rgb_array", disable_env_checker=True, **options)
    return RESTORED[environment](world, protocol)
