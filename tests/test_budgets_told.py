"""What the benchmark of budgets says of what it played: who keeps the success is judged goal by goal."""

import numpy as np

from benchmarks.budgets_told import fewest, keeps
from benchmarks.kept import kept


def hits(count: int, of: int = 100) -> list[bool]:
    return [True] * count + [False] * (of - count)


def test_a_success_is_kept_where_few_goals_are_lost_whatever_the_intervals_of_each_say() -> None:
    best = np.array(hits(100), dtype=int)
    assert [keeps(np.array(hits(count), dtype=int), best) for count in (100, 97, 93)] == [True, True, False]
    # As many successes, of other goals: nobody knows.
    apart = np.array(hits(70)[::-1], dtype=int)
    assert not keeps(apart, np.array(hits(70), dtype=int)) and keeps(apart, apart)


def test_the_fewest_candidates_and_the_least_time_of_those_that_keep_it() -> None:
    cell = {count: {"any": hits(count), "last": hits(count)} for count in (50, 97, 100)}
    found = {"slow": {4: cell[97], 8: cell[100]}, "quick": {4: cell[50], 8: cell[97]}, "never": {4: cell[50]}}
    times = {"slow": {4: 0.5, 8: 0.4}, "quick": {4: 0.001, 8: 0.02}, "never": {4: 0.001}}
    told = fewest(found, times, "any")  # type: ignore[arg-type]
    assert "100% (paired" in told and ": slow 4, quick 8." in told and told.endswith("quick 20 ms, slow 400 ms.")


def test_what_is_of_something_else_is_played_again(tmp_path) -> None:
    played = []

    def play() -> dict[str, int]:
        played.append(1)
        return {"plays": len(played)}

    file = tmp_path / "demo" / "cell.json"
    assert [kept(file, {"model": name, "size": (1, 2)}, play)["plays"] for name in "aabba"] == [1, 1, 2, 2, 3]
