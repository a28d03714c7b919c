"""What the benchmark of drift says of what it measured: every figure has its interval, and says where it is from."""

import numpy as np
import pytest

from benchmarks.drift_told import bounded, panels, section, told

KINDS = ("imagined", "still", "others", "noisy", "disc imagined", "disc still", "disc others", "disc real")


@pytest.fixture
def errors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.uniform(i, i + 1, (3, 10, 20)) for i, name in enumerate(KINDS)}


def test_an_interval_is_about_its_mean_and_narrows_with_episodes() -> None:
    values = np.random.default_rng(0).normal(5.0, 1.0, (3, 400))
    mean, low, high = bounded(values)
    few = bounded(values[:, :20])
    assert low < mean < high and mean == pytest.approx(values.mean(), abs=1e-4)
    assert high - low < 0.5 * (few[2] - few[1])
    assert bounded(np.full((3, 5), 2.0)) == [2.0, 2.0, 2.0]


def test_each_figure_and_each_step_of_a_curve_has_an_interval(errors: dict[str, np.ndarray]) -> None:
    kept = {"two_rooms": {"lewm": told(errors, ["disc"], "a machine")}}
    for row in kept["two_rooms"]["lewm"]["rows"].values():
        assert len(row) == 9 and all(cell.count("[") == 1 for cell in row.values())
    (panel,) = panels(kept)
    for line, kind in zip(panel.lines, ("imagined", "still", "noisy"), strict=True):
        assert line.band is not None and list(line.points) == list(line.band) == list(range(1, 21))
        for step, mean in line.points.items():
            assert mean == pytest.approx(errors[kind][..., step - 1].mean(), abs=1e-4)
            assert line.band[step][0] < mean < line.band[step][1]


def test_each_column_is_of_its_own_errors(errors: dict[str, np.ndarray]) -> None:
    rows = told(errors, ["disc"], "a machine")["rows"]
    for thing, floor in (("", "noisy"), ("disc", "disc real")):

        def mean(kind: str, step: int, thing: str = thing) -> str:
            return f"{errors[f'{thing} {kind}'.strip()][..., step - 1].mean():.3f} ["

        assert rows[thing]["10"].startswith(mean("imagined", 10)) and rows[thing]["still, 1"].startswith(
            mean("still", 1)
        )
        assert rows[thing]["others' actions, 20"].startswith(mean("others", 20))
        assert rows[thing]["floor"].startswith(f"{errors[floor].mean():.3f} [")


def test_families_stay_with_the_machine_that_they_are_from(errors: dict[str, np.ndarray]) -> None:
    first, second = (told(errors, ["disc"], machine) for machine in ("a machine", "another"))
    text = section({"two_rooms": {"lewm": first, "mlp": second, "pldm": first}})
    assert "- two_rooms lewm, two_rooms pldm: a machine" in text and "- two_rooms mlp: another" in text
    assert text.count("| family |") == 2 and "two_rooms, place of the disc, in sides:" in text
