"""Collected shards tell the truth about the world they were played in."""

import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from jepa_wm.control.collect import collect
from jepa_wm.data import Clips, EpisodeShards, Loader
from jepa_wm.envs import REGIONS, region_of
from jepa_wm.envs.vector import TwoRoomsVectorEnv
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest, write_manifest

FACTORS = {
    "floor_color_left": (240, 230, 200),
    "agent_color": "sample",
    "agent_size": "sample",
    "door_position": "sample",
}


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collect") / "shards"
    collect(str(folder), episodes=100, steps=60, size=16, factors=FACTORS, held_out=0.2, codec="png", seed=3)
    return folder


def worlds(episodes):
    """The environments in which `episodes` were played, at their first states."""
    env = TwoRoomsVectorEnv(len(episodes), size=16, max_steps=60, autoreset_mode="Disabled")
    names = episodes[0].factors
    factors = {name: [episode.factors[name] for episode in episodes] for name in names}
    env.reset(seed=0, options={"state": np.stack([episode.state[0] for episode in episodes]), "factors": factors})
    return env


def test_splits_add_up(collected):
    manifest = read_manifest(collected, "collect")
    counts = {split: len(EpisodeShards(collected, split)) for split in ("train", "val", "test")}
    assert counts == {"train": 80, "val": 10, "test": 10}
    assert {split: value["samples"] for split, value in manifest["splits"].items()} == counts
    assert manifest["splits"]["val"]["frames"] == 10 * 61


def test_playing_the_actions_again_gives_the_same_states_and_frames(collected):
    for split in ("train", "val", "test"):
        episodes = list(EpisodeShards(collected, split))[:20]
        env = worlds(episodes)
        for t in range(60):
            frames = np.stack([episode.frames[t] for episode in episodes])
            np.testing.assert_array_equal(env.render_states(env.state), frames)
            env.step(np.stack([episode.actions[t] for episode in episodes]))
            np.testing.assert_array_equal(env.state, np.stack([episode.state[t + 1] for episode in episodes]))


def test_action_blocks_lead_from_frame_to_frame(collected):
    for batch in Loader(Clips(EpisodeShards(collected, "val"), frames=3, frame_skip=5, clips=4), batch_size=8):
        episodes = [EpisodeShards(collected, "val")[index] for index in batch["index"][:, 0].tolist()]
        env = worlds([e._replace(state=state) for e, state in zip(episodes, batch["state"].numpy(), strict=True)])
        for t in range(2):
            for action in batch["actions"][:, t].reshape(-1, 5, 2).unbind(1):
                env.step(action.numpy())
            np.testing.assert_array_equal(env.state, batch["state"][:, t + 1])


def test_captions_name_the_region(collected):
    for episode in EpisodeShards(collected, "train"):
        for caption, region in zip(episode.captions, region_of(episode.state), strict=True):
            assert REGIONS[region].phrase in caption


def test_half_of_the_episodes_cross_to_the_other_room_again_and_again(collected):
    crossings = np.array([_crossings(episode) for episode in EpisodeShards(collected, "train")])
    walks, experts = crossings[0::2], crossings[1::2]
    assert (experts > 1).mean() > 0.7 > 2 * (walks > 1).mean()


def _crossings(episode):
    return np.count_nonzero(np.diff(episode.state[:, 0] > 0.5))


def test_splits_and_batches_are_different_episodes(collected):
    starts = [
        tuple(episode.state[0].tolist())
        for split in ("train", "val", "test")
        for episode in EpisodeShards(collected, split)
    ]
    assert len(set(starts)) == 100


def test_factors_are_those_asked_for(collected):
    episodes = list(EpisodeShards(collected, "train"))
    for name, varies in (("agent_color", True), ("door_position", True), ("wall_color", False)):
        assert (len({str(episode.factors[name]) for episode in episodes}) > 1) is varies


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    def digest(name, seed):
        collect(str(tmp_path / name), episodes=6, steps=4, size=16, factors=FACTORS, seed=seed)
        return read_manifest(tmp_path / name)["data_hash"]

    assert digest("a", 1) == digest("b", 1) != digest("c", 2)


def test_a_finished_folder_is_left_alone_and_other_settings_are_refused(collected, capsys):
    before = {path: path.stat().st_mtime_ns for path in collected.glob("*.tar")}
    collect(str(collected), episodes=100, steps=60, size=16, factors=FACTORS, held_out=0.2, codec="png", seed=3)
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(UserError, match="seed=3; got seed=4"):
        collect(str(collected), episodes=100, steps=60, size=16, factors=FACTORS, held_out=0.2, codec="png", seed=4)
    assert before == {path: path.stat().st_mtime_ns for path in collected.glob("*.tar")}


def test_an_interrupted_collection_leaves_nothing_and_can_be_begun_again(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("jepa_wm.control.collect.hash_shards", interrupt)
        with pytest.raises(KeyboardInterrupt):
            collect(str(tmp_path / "out"), episodes=4, steps=2, size=16)
    assert list(tmp_path.iterdir()) == []
    collect(str(tmp_path / "out"), episodes=4, steps=2, size=16)
    assert len(EpisodeShards(tmp_path / "out", "train")) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"environment": "jepa_wm/ThreeRooms-v0"}, "ThreeRooms"),
        ({"environment": "nowhere:Env-v0"}, "nowhere"),
        ({"environment": "Blackjack-v1", "codec": "gif"}, "gif"),
        ({"codec": "gif"}, "no way 'gif'"),
        ({"factors": {"agent_colour": "sample"}}, "agent_colour"),
        ({"factors": {"agent_color": "plaid"}}, "plaid"),
        ({"episodes": 2}, "episodes is 2"),
        ({"steps": 0}, "steps is 0"),
        ({"size": 0}, "size"),
        ({"held_out": 1.0}, "held_out 1.0"),
        ({"expert_fraction": 1.5}, "expert_fraction 1.5"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_leave_nothing_behind(tmp_path, wrong, message):
    with pytest.raises(UserError, match=message):
        collect(str(tmp_path / "out"), **{"episodes": 4, "steps": 2, "size": 16} | wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_config_holds_every_argument_and_runs(tmp_path):
    config = yaml.safe_load((Path(__file__).parents[2] / "configs/two_rooms/collect.yaml").read_text())
    assert config.keys() | {"out"} == inspect.signature(collect).parameters.keys()
    collect(str(tmp_path / "out"), **config | {"episodes": 3, "steps": 1})


def test_what_is_not_a_collection_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("keep")
    with pytest.raises(UserError, match="not a finished collection"):
        collect(str(tmp_path), episodes=4)
    shutil.move(tmp_path / "notes.txt", tmp_path.parent / "notes.txt")
    write_manifest(tmp_path, "pretrain")
    with pytest.raises(UserError, match="'pretrain'"):
        collect(str(tmp_path), episodes=4)
    with pytest.raises(UserError, match="not a finished collection"):
        collect(str(tmp_path.parent / "notes.txt"), episodes=4)
