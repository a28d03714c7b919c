"""Where model, planner and environment meet."""

from jepa_wm.control.controller import Controller, Search

__all__ = ["Controller", "Search"]
