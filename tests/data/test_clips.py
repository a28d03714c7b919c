"""Clips: frames, actions and states that belong together, cut within episodes, padded where asked for."""

import numpy as np
import pytest
import torch

from jepa_wm.data import Clips, EpisodeShards, Loader
from jepa_wm.errors import UserError


def loader(folder, batch_size=4, shuffle=True, **changes):
    settings = {"frames": 3, "frame_skip": 2, "clips": 2} | changes
    return Loader(Clips(EpisodeShards(folder), **settings), batch_size, seed=5, shuffle=shuffle)


def test_clips_are_cut_where_index_says(shards, make_episode):
    batches = list(loader(shards))
    assert len(batches) == 5
    for batch in batches:
        assert batch["pixels"].shape == (4, 3, 3, 6, 8)
        for clip, (number, start) in enumerate(batch["index"].tolist()):
            episode, steps = make_episode(number), [start, start + 2, start + 4]
            np.testing.assert_array_equal(batch["pixels"][clip], episode.frames[steps])
            np.testing.assert_array_equal(batch["state"][clip], episode.state[steps])
            sums = [episode.reward[t] + episode.reward[t + 1] for t in steps[:-1]]
            np.testing.assert_array_equal(batch["reward"][clip], sums)
            assert batch["captions"][clip] == [f"episode {number}, frame {t}: ö" for t in steps]
            # Two steps of (episode, step) side by side, from each frame to the next.
            blocks = [[number, t, number, t + 1] for t in steps[:-1]]
            np.testing.assert_array_equal(batch["actions"][clip], np.array(blocks, np.float32))


def test_clips_of_an_episode_differ_while_they_can(shards):
    for batch in loader(shards, batch_size=8, clips=4):
        for clips in batch["index"].reshape(-1, 4, 2):
            assert len(set(clips[:, 0].tolist())) == 1
            assert sorted(clips[:, 1].tolist()) == [0, 1, 2, 3]
    assert len(next(iter(loader(shards, frame_skip=3, clips=4)))["index"]) == 4


def test_every_start_is_reached(shards):
    clips = loader(shards)
    starts = {start for _ in range(10) for batch in clips for start in batch["index"][:, 1].tolist()}
    assert starts == {0, 1, 2, 3}


def test_cuts_differ_between_episodes_and_between_epochs(shards):
    clips = loader(shards)
    cuts = [_cuts(clips) for _ in range(2)]
    assert len(set(cuts[0].values())) > 3
    assert sum(cuts[0][number] != cuts[1][number] for number in range(10)) > 3


def _cuts(clips):
    """The first frames of each episode's clips in one epoch."""
    pairs = [pair for batch in clips for pair in batch["index"].tolist()]
    return {number: tuple(start for other, start in pairs if other == number) for number, _ in pairs}


def test_short_episodes_are_left_out_and_counted(tmp_path, write_shards, make_episode):
    shards = write_shards(tmp_path, [make_episode(number, frames=4 + number) for number in range(6)])
    with pytest.warns(UserWarning, match=r"3 of 6 episodes of .* are shorter than 7 frames, .* and skipped"):
        clips = loader(shards, frames=4)
    assert {i for batch in clips for i in batch["index"][:, 0].tolist()} == {3, 4, 5}
    with pytest.raises(UserError, match=r"all 6 episodes of .* shorter than 11 frames.*longest has 9: lower frames"):
        loader(shards, frames=6)


def test_padding_repeats_the_last_frame_and_does_nothing(tmp_path, write_shards, make_episode):
    shards = write_shards(tmp_path, [make_episode(number, frames=2 + number) for number in range(6)])
    rows = {}
    for batch in loader(shards, frames=4, clips=1, pad=True):
        for row, (number, start) in enumerate(batch["index"].tolist()):
            rows[number] = (start, {name: value[row] for name, value in batch.items()})
    assert sorted(rows) == list(range(6))
    for number, (start, row) in rows.items():
        episode = make_episode(number, frames=2 + number)
        last = 1 + number
        times = [start + 2 * step for step in range(4)]
        assert start == 0 or last >= 6
        assert row["valid"].tolist() == [time <= last for time in times]
        at = [min(time, last) for time in times]
        np.testing.assert_array_equal(row["pixels"], episode.frames[at])
        np.testing.assert_array_equal(row["state"], episode.state[at])
        padded = np.concatenate([episode.actions, np.zeros((10, 2), np.float32)])
        np.testing.assert_array_equal(row["actions"], padded[start : start + 6].reshape(3, 4))
        rewards = np.concatenate([episode.reward, np.zeros(10, np.float32)])[start : start + 6]
        np.testing.assert_array_equal(row["reward"], rewards[::2] + rewards[1::2])


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"frame_skip": 0}, {"clips": -1}])
def test_arguments_out_of_range(shards, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        loader(shards, **wrong)


def test_single_frames(shards):
    batch = next(iter(loader(shards, frames=1)))
    assert batch["pixels"].shape == (4, 1, 3, 6, 8) and batch["actions"].shape[:2] == (4, 0)
    assert batch["reward"].shape == (4, 0)


def test_a_transform_sees_whole_clips(shards):
    flipped = next(iter(loader(shards, shuffle=False, transform=Flip())))
    plain = next(iter(loader(shards, shuffle=False)))
    assert torch.equal(flipped["pixels"], plain["pixels"].flip(-1))


class Flip:
    def __call__(self, pixels):
        assert pixels.shape == (3, 3, 6, 8) and pixels.dtype == torch.uint8
        return pixels.flip(-1)
