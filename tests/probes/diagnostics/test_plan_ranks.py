"""Costs of plans: played for real, and expected by models that are right, deaf and contrary."""

import numpy as np
import pytest
import torch

from jepa_wm.control.collect import collect
from jepa_wm.control.playback import play_back
from jepa_wm.data import EpisodeShards
from jepa_wm.envs import TWO_ROOMS
from jepa_wm.envs.factors import FACTORS, default_values
from jepa_wm.envs.geometry import path_distance
from jepa_wm.world_model import WorldModel
from probes.diagnostics.plan_ranks import (
    Played,
    foresight,
    plan_ranks,
    play_plans,
    predicted_costs,
    real_costs,
    true_costs,
)
from probes.diagnostics.ranks import spearman
from probes.drift import Film

STEP = 4.0


def imagined_world(film: Film, plans: int = 12) -> Played:
    """What plans lead to in the planted world."""
    actions = torch.randint(-1, 2, (30, plans, 5, 2), generator=torch.Generator().manual_seed(7)).float()
    state = film.state[:, None, 0] + STEP * actions.sum(dim=2)
    pixels = torch.nn.functional.pad(state, (0, 1))[..., None, None].expand(-1, -1, -1, 8, 8).byte()
    return Played(actions, pixels, state)


def test_who_foresees_the_world_ranks_plans_as_it_does(perfect: WorldModel, deaf: WorldModel, film: Film) -> None:
    played = imagined_world(film)
    goal = film.state[:, -1:]
    expected = (played.state - goal).square().mean(dim=-1)
    torch.testing.assert_close(predicted_costs(perfect, film, played.actions), expected)
    torch.testing.assert_close(real_costs(deaf, film, played), expected)
    truth = true_costs(film, played, None)
    torch.testing.assert_close(truth, (played.state - goal).norm(dim=-1).double())
    assert [row["value"] for row in plan_ranks(perfect, film, played, truth)] == pytest.approx([1, 1])
    assert [row["value"] for row in plan_ranks(deaf, film, played, truth)] == [0, 0]
    assert foresight(deaf, film, played, truth)[0]["value"] == pytest.approx(1)


def test_who_hears_the_contrary_is_found_out(perfect: WorldModel, film: Film) -> None:
    played = imagined_world(film)
    contrary = played._replace(actions=-played.actions)
    truth = true_costs(film, played, None)
    rows = plan_ranks(perfect, film, contrary, truth)
    expected = spearman((2 * film.state[:, None, 0] - played.state - film.state[:, -1:]).norm(dim=-1), truth).mean()
    assert rows[1]["value"] == pytest.approx(expected.item()) and rows[1]["value"] < 0.5


def test_plans_are_played_from_the_first_frame_in_the_episode_s_own_world(
    perfect: WorldModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("plans") / "shards"
    collect(str(folder), episodes=8, steps=6, size=16, factors={"agent_speed": "sample"}, held_out=0.5, codec="png")
    shards = EpisodeShards(str(folder), "test")
    episodes = [shards[0], shards[1]]
    state, pixels, actions = (
        torch.from_numpy(np.stack([getattr(each, name) for each in episodes]))
        for name in ("state", "frames", "actions")
    )
    film = Film(pixels, actions, state)
    factors = {name: np.stack([np.asarray(each.factors[name]) for each in episodes]) for name in episodes[0].factors}
    played = play_plans(TWO_ROOMS, film, factors, perfect, plans=3, seed=1)
    assert played.actions.shape == (2, 3, 6, 2) and played.actions.abs().max() <= 1
    for e in range(2):
        for s in range(3):
            own = {name: value[e : e + 1] for name, value in factors.items()}
            alone = play_back(TWO_ROOMS, 16, state[e : e + 1, 0].numpy(), own, played.actions[e, s][None].numpy())
            np.testing.assert_array_equal(alone.pixels[0], played.pixels[e, s])
            np.testing.assert_array_equal(alone.state[0], played.state[e, s])
    # What was recorded comes out again.
    again = play_back(TWO_ROOMS, 16, state[:, 0].numpy(), factors, actions.numpy())
    np.testing.assert_allclose(again.state, state[:, -1], atol=1e-6)


def test_true_costs_go_through_the_door() -> None:
    factors = default_values(FACTORS, 1)
    state = torch.tensor([[[0.2, 0.9], [0.8, 0.9]]])
    film = Film(torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 2), state)
    ends = torch.tensor([[[0.2, 0.85], [0.7, 0.2]]])
    played = Played(torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8), ends)
    found = true_costs(film, played, factors)[0]
    expected = [path_distance(end[None].numpy(), state[0, 1:].numpy(), factors)[0] for end in ends[0]]
    assert found.tolist() == pytest.approx(expected, rel=1e-6) and found[0] > 0.8
