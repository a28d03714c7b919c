"""Figures that took long to play, kept beside what they are of."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jepa_wm.files import read_json, write_json


def kept(file: Path, of: dict[str, Any], play: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `play` finds; what stands in the file instead, where that is of the same.

    Args:
        file: where it is kept.
        of: what it is of, as JSON: models by `manifest.identity`, goals by theirs, searches by their `spec`.
        play: finds it.
    """
    of = json.loads(json.dumps(of))
    there = read_json(file) if file.is_file() else {}
    if there.get("of") != of:
        there = {"of": of, "found": play()}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, there)
    found: dict[str, Any] = there["found"]
    return found
