"""Shards of Push-T hold what was played, and pushers that push."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("pymunk", reason="Push-T needs pymunk: pip install 'jepa_wm[pusht]'")

from jepa_wm.control.collect import collect
from jepa_wm.data import EpisodeShards
from jepa_wm.envs import PUSH_T
from jepa_wm.envs.push_t import PushTVectorEnv
from jepa_wm.envs.push_t_language import place
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest

SETTINGS = {"steps": 60, "size": 16, "environment": PUSH_T, "codec": "png"}


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("push_t") / "shards"
    factors = {"block_scale": "sample", "block_color": "sample"}
    collect(str(folder), episodes=24, factors=factors, expert_fraction=0.5, seed=3, **SETTINGS)
    return folder


def test_playing_the_actions_again_gives_the_same_states_and_frames(collected):
    episodes = list(EpisodeShards(collected, "train"))
    env = PushTVectorEnv(len(episodes), size=16, autoreset_mode="Disabled")
    factors = {name: [episode.factors[name] for episode in episodes] for name in episodes[0].factors}
    env.reset(options={"state": np.stack([episode.state[0] for episode in episodes]), "factors": factors})
    for t in range(60):
        np.testing.assert_array_equal(env.render_states(env.state), np.stack([e.frames[t] for e in episodes]))
        env.step(np.stack([episode.actions[t] for episode in episodes]))
        np.testing.assert_array_equal(env.state, np.stack([episode.state[t + 1] for episode in episodes]))


def test_blocks_move_in_nearly_all_episodes_and_are_captioned(collected):
    episodes = list(EpisodeShards(collected, "train"))
    moved = [np.hypot(*(episode.state[-1] - episode.state[0])[2:4]) for episode in episodes]
    assert np.mean(np.array(moved) > 0.02) > 0.7
    assert len({str(episode.factors["block_scale"]) for episode in episodes}) > 10
    for episode in episodes:
        assert all(place(state) in said for state, said in zip(episode.state, episode.captions, strict=True))


def test_only_the_share_that_is_asked_for_is_played_by_the_expert(tmp_path):
    """An expert reaches its goal now and then, and a walk does not."""
    rewards = {}
    for share in (0.0, 1.0):
        collect(str(tmp_path / str(share)), 10, expert_fraction=share, **SETTINGS | {"steps": 120})
        rewards[share] = sum(episode.reward.max() for episode in EpisodeShards(tmp_path / str(share), "train"))
    assert rewards[1.0] > 2 > 1 >= rewards[0.0]


def test_same_seed_same_bytes(tmp_path):
    hashes = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        collect(str(tmp_path / name), 4, seed=seed, **SETTINGS | {"steps": 10})
        hashes.append(read_manifest(tmp_path / name)["data_hash"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_factors_of_another_world_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"unknown factor 'door_width'.*block_scale"):
        collect(str(tmp_path / "out"), 4, factors={"door_width": "sample"}, **SETTINGS)


def test_the_config_holds_every_argument_and_runs(tmp_path):
    config = yaml.safe_load((Path(__file__).parents[2] / "configs/push_t/collect.yaml").read_text())
    assert config.keys() | {"out"} == inspect.signature(collect).parameters.keys()
    collect(str(tmp_path / "out"), **config | {"episodes": 3, "steps": 2})
