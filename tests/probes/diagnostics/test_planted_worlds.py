"""A model that knows its world, one that is deaf to actions, one that is half right: each is found out."""

import pytest
import torch

from jepa_wm.errors import UserError
from jepa_wm.world_model import WorldModel
from probes.diagnostics.drift_curve import drift_curve, named
from probes.diagnostics.inverse import inverse_dynamics
from probes.diagnostics.rows import Row
from probes.diagnostics.sensitivity import action_share, imagine_others, sensitivity
from probes.drift import Film, stray

STEP = 4.0


def value(rows: list[Row], metric: str, step: int) -> float:
    (found,) = [row for row in rows if row["metric"] == metric and row["step"] == step]
    return float(found["value"])


def real(film: Film) -> torch.Tensor:
    return film.state[:, :, None]


def test_a_perfect_model_does_not_stray_and_names_the_future(perfect: WorldModel, film: Film) -> None:
    rows = drift_curve(stray(perfect, film))
    for step in range(1, 6):
        assert value(rows, "drift_over_still", step) == value(rows, "drift_over_pair", step) == 0
    # Frames that are the same as the true one cannot be told from it.
    frames = film.state.flatten(0, 1)
    same = torch.stack([(frames == place).all(dim=1).sum() for place in film.state[:, 2]]).double()
    assert value(rows, "hits_at_1", 2) == pytest.approx((1 / same).mean().item())
    assert value(rows, "mrr", 2) > value(rows, "hits_at_1", 2) > 0.5


def test_a_deaf_model_strays_as_far_as_standing_still(deaf: WorldModel, film: Film) -> None:
    rows = drift_curve(stray(deaf, film))
    assert [value(rows, "drift_over_still", step) for step in range(1, 6)] == pytest.approx([1] * 5)
    apart = torch.stack([(a - b).norm() for a in film.state[:, 3] for b in film.state[:, 3]]).sum() / 29
    moved = (film.state[:, 3] - film.state[:, 0]).norm(dim=1).sum()
    assert value(rows, "drift_over_pair", 3) == pytest.approx((moved / apart).item())


def test_the_truth_is_named_by_its_rank_and_equal_frames_share_it() -> None:
    frames = torch.tensor([[0.0], [1], [2], [2], [5]])
    queries = torch.tensor([[0.0], [2], [2], [5]])
    hit, reciprocal = named(queries, frames, torch.tensor([0, 2, 1, 0]))
    assert hit.tolist() == [1, 0.5, 0, 0]
    assert reciprocal.tolist() == pytest.approx([1, (1 + 1 / 2) / 2, 1 / 3, 1 / 5])
    # What is all the same guesses, and no more.
    hit, reciprocal = named(torch.ones(4, 2), torch.ones(5, 2), torch.tensor([0, 2, 1, 0]))
    assert hit.tolist() == pytest.approx([1 / 5] * 4)
    assert reciprocal.tolist() == pytest.approx([sum(1 / i for i in range(1, 6)) / 5] * 4)


def test_sensitivity_in_closed_form(perfect: WorldModel, deaf: WorldModel, film: Film) -> None:
    imagined = imagine_others(perfect, film, others=29)
    rows = sensitivity(imagined, real(film))
    for step in range(1, 6):
        total = film.actions[:, :step].sum(dim=1)
        gap = STEP * (total[:, None] - total).norm(dim=-1).sum() / 29
        moved = STEP * total.norm(dim=-1).sum()
        # Where the own actions are followed without error, all that others add is error.
        for metric in ("action_gap", "shuffled_error"):
            assert value(rows, metric, step) == pytest.approx((gap / moved).item(), rel=1e-5)
        assert value(rows, "action_share", step) > 0.99
    rows = sensitivity(imagine_others(deaf, film), real(film), "deaf")
    assert {row["value"] for row in rows} == {0.0} and {row["control"] for row in rows} == {"deaf"}


def test_a_model_that_hears_the_wrong_thing_is_sensitive_but_errs_no_more_under_other_actions(film: Film) -> None:
    moved = real(film)[:, 1:] - real(film)[:, :1]
    generator = torch.Generator().manual_seed(1)
    noise = 40 * torch.randn(30, 9, 5, 1, 2, generator=generator)
    rows = sensitivity(real(film)[:, None, :1] + noise, real(film))
    assert value(rows, "action_gap", 5) > 3
    found = [row for row in rows if row["metric"] == "shuffled_error" and row["step"] == 5]
    assert found[0]["interval"][0] < 0 < found[0]["interval"][1]
    assert moved.norm(dim=-1).mean() > 0


def test_the_share_of_actions_in_what_moves() -> None:
    generator = torch.Generator().manual_seed(0)
    between = torch.randn(400, 1, 2, generator=generator, dtype=torch.float64)
    within = torch.randn(400, 6, 2, generator=generator, dtype=torch.float64)
    assert action_share(between + 2 * within).value == pytest.approx(0.8, abs=0.03)
    low, high = action_share(between + 2 * within).interval
    assert low < 0.8 < high < low + 0.1
    # Within 2 and 8, so 5; the means 1 and 13 vary by 72, of which 5 / 2 is within.
    few = torch.tensor([[[0.0], [2]], [[11], [15]]], dtype=torch.float64)
    assert action_share(few).value == pytest.approx(5 / (5 + 72 - 5 / 2))
    with pytest.raises(UserError, match="at least 2"):
        action_share(between)


def test_actions_need_other_episodes(perfect: WorldModel, film: Film) -> None:
    with pytest.raises(UserError, match="got 1 episode"):
        imagine_others(perfect, Film(*(part[:1] for part in film)))


def test_two_frames_tell_the_action_between_them_and_places_alone_do_not(film: Film) -> None:
    splits = {"train": film.state[:18], "val": film.state[18:22], "test": film.state[22:]}
    actions = {"train": film.actions[:18], "val": film.actions[18:22], "test": film.actions[22:]}
    found = inverse_dynamics(splits, actions)
    assert found.value == pytest.approx(1, abs=1e-4) and found.null < 0.2 and found.n == 40
    blind = {name: z[:, :1].expand_as(z) for name, z in splits.items()}
    assert inverse_dynamics(blind, actions).value < 0.2
