"""Rows are true: each is a frame of the episode that it names, with that frame's state and caption."""

import shutil

import numpy as np
import pytest
import torch

from jepa_wm.data import EpisodeShards
from jepa_wm.encoders import PooledFrames
from probes.features import draw_rows, encode, read_splits


@pytest.fixture(scope="module")
def rows(collection):
    return read_splits(str(collection), 200, 0)


def test_each_row_is_a_frame_of_its_episode(collection, rows):
    begin = 0
    for split, part in rows.items():
        shards = EpisodeShards(collection, split)
        for i, number in enumerate(part.episode.tolist()):
            episode = shards[number - begin]
            [time] = np.flatnonzero((episode.state == part.state[i].numpy()).all(axis=1))[:1]
            assert np.array_equal(episode.frames[time], part.pixels[i].numpy())
            assert part.captions[i] in [
                caption
                for caption, state in zip(episode.captions, episode.state, strict=True)
                if np.array_equal(state, episode.state[time])
            ]
            for name, value in part.factors.items():
                np.testing.assert_allclose(value[i], np.ravel(episode.factors[name]).astype(np.float32))
        begin += len(shards)


def test_counts_follow_the_shares_and_spread_over_the_episodes(rows):
    assert {split: len(part.state) for split, part in rows.items()} == {"train": 200, "val": 20, "test": 80}
    assert torch.unique(rows["train"].episode, return_counts=True)[1].tolist() == [5] * 40
    assert torch.unique(rows["test"].episode, return_counts=True)[1].tolist() == [16] * 5


def test_an_episode_s_rows_are_adjacent_distinct_and_in_no_other_split(rows):
    for part in rows.values():
        changes = int((part.episode[1:] != part.episode[:-1]).sum())
        assert changes + 1 == len(part.episode.unique())
        assert len({(int(e), *s.tolist()) for e, s in zip(part.episode, part.state, strict=True)}) > 0.9 * len(
            part.state
        )
    together = torch.cat([part.episode.unique() for part in rows.values()])
    assert len(together.unique()) == len(together)


def test_the_first_frames_of_episodes_come_from_all_times(collection):
    part = draw_rows(EpisodeShards(collection, "train"), 200, np.random.default_rng(0))
    firsts = torch.cat([torch.tensor([True]), part.episode[1:] != part.episode[:-1]])
    shards = EpisodeShards(collection, "train")
    times = [
        int((shards[number].state == state.numpy()).all(axis=1).argmax())
        for number, state in zip(part.episode[firsts].tolist(), part.state[firsts], strict=True)
    ]
    assert 8 < np.mean(times) < 16


def test_few_frames_take_one_from_each_of_as_many_episodes(collection):
    part = draw_rows(EpisodeShards(collection, "train"), 15, np.random.default_rng(0))
    assert len(part.state) == len(part.episode.unique()) == 15


def test_more_frames_than_there_are_gives_all(collection):
    assert len(draw_rows(EpisodeShards(collection, "val"), 10_000, np.random.default_rng(0)).state) == 5 * 25


def test_rows_are_a_function_of_the_seed(collection, rows):
    again, other = read_splits(str(collection), 200, 0), read_splits(str(collection), 200, 1)
    assert torch.equal(again["test"].pixels, rows["test"].pixels)
    assert not torch.equal(other["test"].state, rows["test"].state)


def test_first_cuts_every_column(rows):
    part = rows["train"].first(7)
    assert {len(part.pixels), len(part.state), len(part.captions), len(part.episode)} == {7}
    assert torch.equal(part.factors["agent_color"], rows["train"].factors["agent_color"][:7])


def test_latents_do_not_depend_on_the_batches(world_model, rows):
    pixels = torch.cat([rows["train"].pixels, rows["test"].pixels])
    with torch.no_grad():
        whole = PooledFrames()(world_model.encoder, pixels[:, None])[:, 0, 0]
    assert len(pixels) > 256
    torch.testing.assert_close(encode(world_model.encoder, pixels), whole)


def test_broken_episodes_are_left_out(collection, tmp_path):
    folder = tmp_path / "shards"
    shutil.copytree(collection, folder)
    shards = EpisodeShards(folder, "val")
    [shard] = folder.glob("val-*.tar")
    data = shard.read_bytes()
    shard.write_bytes(data.replace(b"\xff\xd8\xff", b"XXX", 1))
    with pytest.warns(UserWarning, match="broken sample"):
        part = draw_rows(shards, 1000, np.random.default_rng(0))
    assert part.episode.unique().tolist() == [1, 2, 3, 4]
