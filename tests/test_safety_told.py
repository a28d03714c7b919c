"""What the benchmark of safety says of a planner: its difference is from the free one, goal by goal."""

import numpy as np

from benchmarks.safety import shown


def test_who_loses_goals_is_below_the_free_planner() -> None:
    free = np.array([True] * 90 + [False] * 10)
    hits = np.array([True] * 80 + [False] * 20)
    row = shown({"success": (80, 100)}, hits, free)
    assert row["success"].startswith("80.0% [") and row["success"].endswith("of 100")
    assert row["success, paired with the unconstrained"].startswith("-10.0% [-")
    assert shown({}, free, free)["success, paired with the unconstrained"].startswith("+0.0% [-")
