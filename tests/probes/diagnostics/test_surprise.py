"""Surprise of models whose expectations are known, and its scores against pairs counted by hand."""

import pytest
import torch

from jepa_wm.statistics import wilson
from jepa_wm.world_model import WorldModel
from probes.diagnostics.ranks import wins
from probes.diagnostics.rows import counts
from probes.diagnostics.surprise import change, surprise, violations
from probes.drift import Film
from probes.statistics import interval

STEP = 4.0


def jumped(film: Film) -> Film:
    """The same, but at the third frame the point is elsewhere, and stays so."""
    away = torch.zeros_like(film.state)
    away[:, 2:] = 10
    pixels = film.pixels + (torch.nn.functional.pad(away, (0, 1)))[..., None, None].byte()
    return film._replace(pixels=pixels, state=film.state + away)


def test_who_knows_the_actions_is_surprised_by_nothing_but_the_jump(
    perfect: WorldModel, deaf: WorldModel, film: Film
) -> None:
    assert surprise(perfect, film).abs().max() == 0
    found = surprise(perfect, jumped(film))
    assert (found[:, 1] == 10).all() and (found[:, [0, 2, 3, 4]] == 0).all()
    # Who does not is surprised by every step, as one who expects no change.
    expected = STEP * film.actions.abs().mean(dim=-1)
    torch.testing.assert_close(surprise(deaf, film), expected)
    torch.testing.assert_close(change(film.state), expected)


def test_scores_of_a_perfect_model_and_of_one_that_cannot_tell(perfect: WorldModel, film: Film) -> None:
    can, cannot = surprise(perfect, film), surprise(perfect, jumped(film))
    for row in violations(can, cannot, "teleport"):
        assert row["value"] == 1 and row["null"] == 0.5 and row["n"] == 30
    low, high = violations(can, cannot, "teleport")[0]["interval"]
    assert (low, high) == wilson(30, 30)
    for row in violations(can, can, "teleport"):
        assert row["value"] == 0.5 and row["interval"][0] <= 0.5 <= row["interval"][1]


def test_pairs_are_counted_within_and_across() -> None:
    can = torch.tensor([[0.0, 1], [5, 5], [2, 2]])
    cannot = torch.tensor([[0.0, 2], [4, 4], [2, 2]])
    found = {row["metric"]: row["value"] for row in violations(can, cannot, "x")}
    # Largest: 2, 4, 2 against 1, 5, 2. Mean: 1, 4, 2 against 0.5, 5, 2.
    assert found["voe_x_max_accuracy"] == pytest.approx(1.5 / 3)
    assert found["voe_x_max_auroc"] == pytest.approx((1.5 + 2 + 1.5) / 9)
    assert found["voe_x_mean_accuracy"] == pytest.approx(1.5 / 3)
    assert found["voe_x_mean_auroc"] == pytest.approx((1 + 2 + 1.5) / 9)


def test_pairs_are_resampled_together() -> None:
    generator = torch.Generator().manual_seed(5)
    can, cannot = (torch.rand(12, 1, generator=generator) for _ in range(2))
    found = {row["metric"]: row["interval"] for row in violations(can, cannot, "x", seed=9)}
    drawn = [
        wins(cannot[rows, 0], can[rows, 0]).mean()
        for rows in (torch.arange(12).repeat_interleave(times.long()) for times in counts(12, 9))
    ]
    assert found["voe_x_max_auroc"] == pytest.approx(list(interval(torch.stack(drawn))), abs=1e-9)
