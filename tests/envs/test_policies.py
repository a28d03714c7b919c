"""The expert reaches every goal of every world, the walk sees both rooms, seeds decide everything."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from jepa_wm.envs.factors import FACTORS, default_values
from jepa_wm.envs.geometry import geometry, path_distance
from jepa_wm.envs.language import region_of
from jepa_wm.envs.policies import NoisyExpert, NoOp, RandomWalk, Uniform
from jepa_wm.envs.vector import TwoRoomsVectorEnv, sample_start


def play(env, policy, steps):
    """Which environments ever succeeded, the states (T, E, 2) and the actions (T, E, 2)."""
    solved, states, actions = np.zeros(env.num_envs, bool), [env.state], []
    for _ in range(steps):
        actions.append(policy(env.state, env.goal, env.factor_values))
        solved |= env.step(actions[-1])[2]
        states.append(env.state)
    return solved, np.stack(states), np.stack(actions)


def world(count, split, **options):
    env = TwoRoomsVectorEnv(count, size=8, factors=dict.fromkeys(FACTORS, split), autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=5, options=options)
    return env


@pytest.mark.parametrize("split", ["default", "sample", "held_out"])
def test_expert_without_noise_lands_on_every_goal(split):
    env = world(200, split)
    solved, states, _ = play(env, NoisyExpert(), env.max_steps)
    assert solved.all()
    np.testing.assert_allclose(env.state, env.goal, atol=1e-5)
    # It goes nearly the shortest way.
    walked = np.hypot(*np.diff(states, axis=0).transpose(2, 0, 1)).sum(0)
    shortest = path_distance(states[0], env.goal, env.factor_values)
    assert (walked >= shortest - 1e-4).all() and (walked / shortest).max() < 1.3


def test_expert_is_at_home_in_every_extreme_and_in_doorways():
    rng = np.random.default_rng(0)
    numbers = [name for name in FACTORS if hasattr(FACTORS[name], "allowed")]
    factors = {name: rng.choice(FACTORS[name].allowed, 300) for name in numbers}
    factors["door_number"] = rng.integers(1, 4, 300)
    one = geometry(default_values(FACTORS, 300) | factors)
    goals = np.stack([sample_start(one.take(np.array([i])), rng) for i in range(300)])
    # Every third disc starts within a door, every fifth has its goal there.
    top, bottom = one.doors[np.arange(300), rng.integers(0, factors["door_number"])].T
    starts = np.stack([sample_start(one.take(np.array([i])), rng) for i in range(300)])
    starts[::3] = np.stack([rng.uniform(0.45, 0.55, 300), (top + bottom) / 2], -1)[::3]
    goals[::5] = np.stack([rng.uniform(0.45, 0.55, 300), (top + bottom) / 2], -1)[::5]
    env = world(300, "default", state=starts, goal=goals, factors=factors)
    solved, _, _ = play(env, NoisyExpert(), env.max_steps)
    assert solved.all()
    np.testing.assert_allclose(env.state, env.goal, atol=1e-5)


def test_noise_makes_the_expert_vary_and_still_arrive():
    env = world(100, "default")
    solved, _, actions = play(env, NoisyExpert(noise=0.5, seed=1), env.max_steps)
    assert solved.mean() > 0.95 and np.abs(actions).max() <= 1
    assert np.diff(actions[:3], axis=0).std() > 0.2


def test_random_walk_sees_every_region_and_uses_the_door():
    env = world(200, "default")
    _, states, actions = play(env, RandomWalk(200, seed=0), 100)
    crossed = ((states[1:, :, 0] < 0.5) != (states[:1, :, 0] < 0.5)).any(0).mean()
    assert 0.1 < crossed < 0.9
    share = np.bincount(region_of(states).ravel(), minlength=18) / states[..., 0].size
    assert share.min() > 0.015
    # Directions are held: consecutive actions are mostly equal, and all directions occur.
    same = (np.diff(actions, axis=0) == 0).all(-1).mean()
    assert 0.8 < same < 0.95
    np.testing.assert_allclose(actions.mean((0, 1)), 0, atol=0.05)


def test_a_random_walk_holds_its_choice_for_2_to_16_steps():
    policy, state = RandomWalk(40, seed=0), np.zeros((40, 2), np.float32)
    actions = np.stack([policy(state, state, {}) for _ in range(400)])
    turned = np.concatenate([np.ones((1, 40), bool), (np.diff(actions, axis=0) != 0).any(-1)])
    # The last choice of each may be held for longer than is seen here.
    counts = np.bincount(np.concatenate([np.diff(np.flatnonzero(one)) for one in turned.T]))
    assert np.flatnonzero(counts).tolist() == list(range(2, 17))
    assert (np.abs(counts[2:] / counts.sum() - 1 / 15) < 0.02).all()


def test_floors():
    state = np.full((50, 2), 0.3, np.float32)
    assert not NoOp()(state, state, {}).any()
    actions = np.concatenate([Uniform(seed=0)(state, state, {}), Uniform(seed=1)(state, state, {})])
    np.testing.assert_allclose(actions.mean(0), 0, atol=0.2)
    np.testing.assert_allclose(actions.var(0), 1 / 3, atol=0.1)


@pytest.mark.parametrize("make", [NoOp, Uniform, lambda: RandomWalk(6, seed=3), lambda: NoisyExpert(0.3, seed=3)])
def test_same_seed_same_actions_of_the_right_kind(make):
    runs = []
    for _ in range(2):
        runs.append(play(world(6, "sample"), make(), 10)[2])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert runs[0].dtype == np.float32 and np.abs(runs[0]).max() <= 1
