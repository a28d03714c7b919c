"""Goals in stable-worldmodel's environments and what is counted of them; it need not be installed."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jepa_wm.control.collect import collect
from jepa_wm.data import EpisodeShards
from jepa_wm.errors import UserError
from jepa_wm.interop import evaluate as module
from jepa_wm.interop.evaluate import RecordedEpisodes, WorldGoals, evaluate
from jepa_wm.interop.worlds import protocol_of
from jepa_wm.statistics import rate_interval, wilson

WORLD = "swm/TwoRoom-v1"


def recorded(folder: Path, steps: int) -> RecordedEpisodes:
    """Discs in our two rooms, whose states have as many numbers as theirs."""
    collect(str(folder), episodes=4, steps=steps, size=16, held_out=0.5)
    return RecordedEpisodes(EpisodeShards(str(folder), "test"), WORLD)


def test_episodes_that_are_too_short_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no episode has more than 25 steps"):
        WorldGoals.draw(recorded(tmp_path / "short", 24), 1)


def test_starts_that_share_an_episode_do_not_count_as_independent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved = np.repeat([True, True, False, True], 5)

    class World:
        def __init__(self, *_: object, **__: object) -> None: ...

        def set_policy(self, policy: object) -> None: ...

        def evaluate(self, **_: object) -> dict[str, object]:
            return {"episode_successes": solved}

        def close(self) -> None: ...

    monkeypatch.setattr(module, "package", lambda: SimpleNamespace(World=World))
    goals = WorldGoals(recorded(tmp_path / "long", 30), np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4), 0)
    found = evaluate(None, goals)
    assert found["success"] == 0.75 and found["ci95"] == list(rate_interval(solved, goals.episode))
    alone = wilson(15, 20)
    assert found["ci95"][0] < alone[0] and found["ci95"][1] > alone[1]


@pytest.mark.parametrize(
    ("environment", "change", "met"),
    [
        ("swm/ReacherDMControl-v0", {0: 0.049, 1: -0.049, 2: 3.0}, True),
        ("swm/ReacherDMControl-v0", {1: -0.051}, False),
        # Three numbers of the arm and of its speed, and the cube's place beside its pose among the joints.
        ("swm/OGBCube-v0", {0: 1.0, 25: -2.0, 41: 0.02, 42: -0.02, 43: 0.028, 45: 1.0}, True),
        ("swm/OGBCube-v0", {41: 0.02, 42: -0.02, 43: 0.029}, False),
    ],
)
def test_a_goal_is_met_by_what_counts_and_by_how_near_that_is(
    environment: str, change: dict[int, float], met: bool
) -> None:
    protocol = protocol_of(environment)
    goals = np.zeros((2, sum(protocol.columns.values())))
    states = goals.copy()
    for column, value in change.items():
        states[1, column] = value
    assert protocol.rule(protocol.split(states), protocol.split(goals)).tolist() == [True, met]
