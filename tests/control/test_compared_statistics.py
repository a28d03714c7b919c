"""How far apart two runs are: episodes of one source count together, and the interval lies about the difference.

Goals are counted at any step and at the last one, and all that is tested is one family.
"""

from pathlib import Path

import pytest

from jepa_wm.control.compare import compare, difference
from jepa_wm.control.results import EPISODES, RESULTS, Row, write_rows
from jepa_wm.files import read_json
from jepa_wm.manifest import write_manifest
from jepa_wm.statistics import NORMAL, wilson


def rows(hits: str, sources: str) -> list[Row]:
    """An episode for each letter of `hits`, "1" for a success, from the source that `sources` names."""
    return [{"success": hit == "1", "source": source} for hit, source in zip(hits, sources, strict=True)]


def test_twelve_gains_in_one_source_are_one_gain() -> None:
    one, apart = (difference(rows("0" * 12, names), rows("1" * 12, names)) for names in ("a" * 12, "abcdefghijkl"))
    assert one["difference"] == apart["difference"] == 1 and one["gained"] == apart["gained"] == 12
    assert one["p"] == 1 and apart["p"] == 2 / 2**12
    # Where n pairs of n are gains, the score is at its limit z at the difference (n - z²) / (n + z²).
    for found, n in ((one, 1), (apart, 12)):
        expected = [(n - NORMAL**2) / (n + NORMAL**2), 1]
        assert found["difference_ci95"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("before", "after", "gained", "lost"),
    [("000001111", "111110111", 5, 1), ("111110111", "000001111", 1, 5), ("1" * 9, "0" * 9, 0, 9)],
)
def test_the_interval_holds_the_difference_of_the_second_from_the_first(
    before: str, after: str, gained: int, lost: int
) -> None:
    found = difference(rows(before, "abcdefghi"), rows(after, "abcdefghi"))
    low, high = found["difference_ci95"]
    assert (found["gained"], found["lost"]) == (gained, lost)
    assert low <= found["difference"] <= high and found["difference"] == pytest.approx((gained - lost) / 9)
    # Who is first changes signs, and nothing else.
    back = difference(rows(after, "abcdefghi"), rows(before, "abcdefghi"))
    assert back["difference_ci95"] == pytest.approx([-high, -low], abs=1e-9) and back["p"] == found["p"]


ALL, NONE = "1" * 8, "0" * 8


def played(folder: Path, *kinds: tuple[str, str, str | None]) -> str:
    """A run by hand of CEM and a floor that reaches nothing: a kind of goals, the hits that count, those at the last
    step, if it has one."""
    episodes = [
        {"goal": kind, "goals": "same", "episode": number, "source": number, "policy": policy}
        | {"success": own[number] == "1", "success_last": None if at_last is None else at_last[number] == "1"}
        for kind, hits, last in kinds
        for policy, own, at_last in (("noop", NONE, last and NONE), ("cem", hits, last))
        for number in range(8)
    ]
    write_rows(folder / EPISODES, episodes)
    write_rows(folder / RESULTS, [])
    search = {"init_args": {"planner": {"class_path": "jepa_wm.planning.CEM"}}}
    write_manifest(folder, "plan", config={"steps": 9, "check": 1, "search": search})
    return str(folder)


def test_who_reaches_alike_and_keeps_otherwise_differs_at_the_last_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences = ("text", "11110000", "11110000")
    a, b, c = (
        played(tmp_path / name, ("image", ALL, last), sentences)
        for name, last in {"a": NONE, "b": ALL, "c": "11100000"}.items()
    )
    compare([a, b, c], str(tmp_path / "table.json"))
    table = read_json(tmp_path / "table.json")
    steps = [(row["goal"], row["step"], row["policy"], row["run"]) for row in table]
    # What a sentence counts is its last step already.
    assert steps == [
        (*step, policy, run)
        for step in (("image", "any"), ("image", "last"), ("text", "last"))
        for policy, run in (("noop", a), ("cem", a), ("cem", b), ("cem", c))
    ]
    assert [row["success"] for row in table] == [0, 1, 1, 1, 0, 0, 1, 3 / 8, 0, 0.5, 0.5, 0.5]
    assert [table[6]["ci95"], table[7]["ci95"]] == [list(wilson(8, 8)), list(wilson(3, 8))]
    assert [(row["gained"], row["lost"]) for row in table if "p" in row] == [
        (0, 0),
        (0, 0),
        (8, 0),
        (3, 0),
        *[(0, 0)] * 2,
    ]
    # Eight of eight pairs, and three, are gains; the smallest of six counts six times, the next one five.
    assert [row["p"] for row in table if "p" in row] == [1, 1, 2 / 2**8, 2 / 2**3, 1, 1]
    assert [row["p_holm"] for row in table if "p" in row] == [1, 1, 12 / 2**8, 1, 1, 1]
    limit = [(8 - NORMAL**2) / (8 + NORMAL**2), 1]
    assert table[6]["difference_ci95"] == pytest.approx(limit, abs=1e-9)
    said = capsys.readouterr().out.splitlines()
    heads = ["image goals at any step", "image goals at the last step", "text goals at the last step"]
    assert said[::5] == heads and len(said) == 15
    assert said[3].startswith(f"  {b} cem     100.0%") and "; +0.0% [" in said[3] and "Holm 1" in said[3]
    assert said[8].startswith(f"  {b} cem     100.0%") and "; +100.0% [" in said[8] and "Holm 0.047" in said[8]


def test_no_last_step_is_compared_where_episodes_of_a_run_end_with_their_goals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (played(tmp_path / name, ("image", ALL, last)) for name, last in (("a", NONE), ("b", None)))
    for runs in ([a, b], [b, a]):
        compare(runs, str(tmp_path / "table.json"))
        assert {row["step"] for row in read_json(tmp_path / "table.json")} == {"any"}
        said = capsys.readouterr().out
        assert f"image goals at the last step: left out, as episodes of {b} end with their goals" in said
