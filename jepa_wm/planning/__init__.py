"""Search over action sequences: one planner a file; knows costs, and no model or environment."""

from jepa_wm.planning.cem import CEM

__all__ = ["CEM"]
