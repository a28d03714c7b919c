"""The pusher brings blocks to their goals, walks round them without touching, and what does not push does not."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

pytest.importorskip("pymunk", reason="Push-T needs pymunk: pip install 'jepa_wm[pusht]'")

from jepa_wm.envs import tee
from jepa_wm.envs.policies import NoOp, Uniform
from jepa_wm.envs.push_t import FACTORS, PushTVectorEnv
from jepa_wm.envs.push_t_physics import advance
from jepa_wm.envs.push_t_policy import BlockWalk, Pusher
from jepa_wm.envs.push_t_route import RING, visible, ways

PX = 1 / tee.SIDE


def play(policy, count, steps, split="default", **options):
    """Which environments were ever solved, and the states (T+1, E, 8)."""
    env = PushTVectorEnv(count, size=8, factors=dict.fromkeys(FACTORS, split), autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=1, options=options)
    solved, states = np.zeros(count, bool), [env.state]
    for _ in range(steps):
        solved |= env.step(policy(env.state, env.goal, env.factor_values))[2]
        states.append(env.state)
    return solved, np.stack(states)


@pytest.mark.parametrize("split", ["default", "sample", "held_out"])
def test_the_pusher_solves_nearly_everything(split):
    solved, _ = play(Pusher(), 20, 150, split)
    assert solved.mean() > 0.9


def test_noise_makes_it_slower_and_it_still_arrives():
    assert play(Pusher(0.2, seed=1), 10, 250)[0].mean() > 0.8


@pytest.mark.parametrize("make", [NoOp, Uniform, lambda: BlockWalk(20)])
def test_floors_solve_next_to_nothing(make):
    assert play(make(), 20, 100)[0].mean() < 0.1


def test_with_the_block_in_place_it_walks_round_without_touching():
    rng = np.random.default_rng(0)
    angle, away = rng.uniform(-3, 3, 20), rng.uniform(0, 6.28, 20)
    block = np.stack([np.full(20, 0.5), np.full(20, 0.5), np.sin(angle), np.cos(angle)], -1)
    out = 0.22 * np.stack([np.cos(away), np.sin(away)], -1)
    rest = np.zeros((20, 2))
    start, goal = (np.concatenate([0.5 + side * out, block, rest], -1) for side in (1, -1))
    solved, states = play(Pusher(), 20, 60, state=start, goal=goal)
    assert solved.all()
    np.testing.assert_array_equal(states[-1, :, 2:6], states[0, :, 2:6])
    np.testing.assert_allclose(states[-1, :, :2], goal[:, :2], atol=2 * PX)


def test_every_place_of_the_ring_pushes_as_its_lever_says():
    unit = np.array([tee.UNIT])
    contacts = RING.places(unit, 0)[0]
    free = tee.signed_distance(contacts[:, 0], contacts[:, 1], tee.UNIT) > tee.RADIUS - 1e-6
    assert (RING.edge & free).sum() > 30
    for i in np.flatnonzero(RING.edge & free):
        start = np.array([*(contacts[i] + 0.5), 0.5, 0.5, 0, 1, 0, 0], np.float32)
        after = advance(start, -0.03 * RING.away[i], 1.0)
        shift, turn = after[2:4] - start[2:4], np.arctan2(after[4], after[5])
        assert -shift @ RING.away[i] > 0.1 * PX
        # The lever is positive where a push turns the block from x to y.
        expected = RING.levers[i] / tee.GYRATION**2 * -(shift @ RING.away[i]) / tee.UNIT
        np.testing.assert_allclose(turn, expected, rtol=0.1, atol=1e-3)


def test_ways_are_at_least_straight_and_lead_round():
    rng = np.random.default_rng(1)
    states = np.tile([0.5, 0.5, 0.5, 0.5, 0, 1, 0, 0], (30, 1))
    unit, points = np.full(30, tee.UNIT), rng.uniform(-0.3, 0.3, (30, 2))
    keep = tee.signed_distance(points[:, 0], points[:, 1], unit) > tee.RADIUS + 6 * PX
    states, unit, points = states[keep], unit[keep], points[keep]
    way, places = ways(points, states, unit), RING.places(unit, 6 * PX)
    straight = np.sqrt(((places - points[:, None]) ** 2).sum(-1))
    seen = visible(points, places, unit)
    np.testing.assert_array_less(0.97 * straight, way.lengths)
    np.testing.assert_allclose(way.lengths[seen], 0.98 * straight[seen], rtol=1e-6)
    assert (way.lengths[~seen] > straight[~seen]).mean() > 0.95 and way.lengths.max() < 1.2
    assert np.take_along_axis(seen, way.enter, 1).all()


@pytest.mark.parametrize("make", [lambda: Pusher(0.3, seed=3), lambda: BlockWalk(6, seed=3)])
def test_same_seed_same_actions_of_the_right_kind(make):
    env = PushTVectorEnv(6, size=8)
    env.reset(seed=0)
    one, other = (make()(env.state, env.goal, env.factor_values) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.dtype == np.float32 and np.abs(one).max() <= 1


def test_the_walk_keeps_near_the_block_and_moves_it():
    _, states = play(BlockWalk(30, seed=2), 30, 100)
    assert np.median(np.hypot(*(states[20:, :, :2] - states[20:, :, 2:4]).T)) < 0.2
    assert np.hypot(*(states[-1, :, 2:4] - states[0, :, 2:4]).T).mean() > 0.05
