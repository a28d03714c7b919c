"""Where model, planner and environment meet."""

from jepa_wm.control.controller import Controller

__all__ = ["Controller"]
