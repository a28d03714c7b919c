"""What the benchmark of shifts says of a factor: planner, floor and ceiling, each by its own episodes."""

import json
from pathlib import Path

import pytest

from benchmarks.shift import figures, read, shown
from jepa_wm.control.results import EPISODES


@pytest.mark.parametrize("top", ["expert", "replay"])
def test_the_planner_stands_between_floor_and_ceiling(top: str, tmp_path: Path) -> None:
    successes = {"noop": [0, 0, 0, 0], "random": [0, 1, 0, 0], top: [1, 1, 1, 1], "cloned": [0, 0, 0, 0]}
    rows = [
        {
            **{"goal": goal, "goals": "", "policy": policy, "episode": str(number), "source": number},
            **{"success": success, "success_last": success * (number > 0)},
        }
        for goal in ("image", "text")
        for policy, each in {**successes, "cem": [1, 0, 1, 0]}.items()
        for number, success in enumerate(each if goal == "image" else [0] * 4)
    ]
    (tmp_path / EPISODES).write_text("\n".join(map(json.dumps, rows)))
    found = read(tmp_path)
    cells = shown(figures(found, found))
    assert [cells[name] for name in ("success", "random", "expert or replay")] == ["50.0% of 4", "25.0%", "100.0%"]
    assert cells["at the last step"] == "25.0%"
