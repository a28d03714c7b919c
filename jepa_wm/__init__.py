"""World models in embedding space: shards → encoder → latents → dynamics → planner."""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jepa_wm.encoders import load_encoder as load_encoder
    from jepa_wm.observations import Observation as Observation
    from jepa_wm.released import load_world_model as load_world_model
    from jepa_wm.world_model import WorldModel as WorldModel

# Public names and where they live; imported on first use so that `import jepa_wm` stays light.
_LAZY = {
    "Observation": "jepa_wm.observations",
    "WorldModel": "jepa_wm.world_model",
    "load_encoder": "jepa_wm.encoders",
    "load_world_model": "jepa_wm.released",
}

__all__ = ["Observation", "WorldModel", "__version__", "load_encoder", "load_world_model"]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'jepa_wm' has no attribute {name!r}")
