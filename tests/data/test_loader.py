"""The order of clips: a function of seed and epoch, whatever the workers, the ranks and the interruptions."""

import itertools
import json
import tarfile

import numpy as np
import pytest
import torch

from jepa_wm.data import ClipLoader
from jepa_wm.data.loader import epoch_groups
from jepa_wm.errors import UserError


def loader(shards, **changes):
    settings = {"frames": 3, "frame_skip": 2, "batch_size": 4, "clips_per_episode": 2, "seed": 5}
    return ClipLoader(shards, "train", **settings | changes)


def assert_same(got, expected):
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.keys() == other.keys() and one["captions"] == other["captions"]
        for name in ("pixels", "actions", "state", "index"):
            assert torch.equal(one[name], other[name])


def damage(folder, keys):
    """Overwrite the film strips of `keys` in place."""
    for shard in folder.glob("*.tar"):
        with tarfile.open(shard) as tar:
            at = [m.offset_data for m in tar if m.name.endswith("frames.png") and m.name.partition(".")[0] in keys]
        with open(shard, "r+b") as file:
            for offset in at:
                file.seek(offset)
                file.write(b"\0" * 64)


@pytest.mark.parametrize("world", [1, 2, 5])
def test_ranks_together_see_what_one_process_sees(world):
    whole = epoch_groups(50, 4, seed=1, epoch=2, shuffle=True)
    ranks = [epoch_groups(50, 4, seed=1, epoch=2, shuffle=True, rank=rank, world=world) for rank in range(world)]
    assert {len(groups) for groups in ranks} == {12 // world}
    interleaved = [group for step in zip(*ranks, strict=True) for group in step]
    assert interleaved == whole[: len(interleaved)]


def test_an_epoch_visits_each_episode_once_and_the_next_in_another_order():
    first, second = (epoch_groups(48, 4, seed=1, epoch=epoch, shuffle=True) for epoch in (0, 1))
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == list(range(48))
    assert first != second and first != epoch_groups(48, 4, seed=2, epoch=0, shuffle=True)


def test_the_last_group():
    assert [len(group) for group in epoch_groups(10, 4, 0, 0, shuffle=True)] == [4, 4]
    assert [len(group) for group in epoch_groups(3, 4, 0, 0, shuffle=True)] == [3]
    assert epoch_groups(5, 4, 0, 7, shuffle=False) == [[0, 1, 2, 3], [4]]


def test_clips_are_cut_where_index_says(shards, make_episode):
    batches = list(loader(shards))
    assert len(batches) == 5 == len(loader(shards))
    for batch in batches:
        assert batch["pixels"].shape == (4, 3, 3, 6, 8) and batch["pixels"].is_contiguous()
        for clip, (number, start) in enumerate(batch["index"].tolist()):
            episode, steps = make_episode(number), [start, start + 2, start + 4]
            np.testing.assert_array_equal(batch["pixels"][clip], episode.frames[steps])
            np.testing.assert_array_equal(batch["state"][clip], episode.state[steps])
            assert batch["captions"][clip] == [f"episode {number}, frame {t}: ö" for t in steps]
            # Two steps of (episode, step) side by side, from each frame to the next.
            blocks = [[number, t, number, t + 1] for t in steps[:-1]]
            np.testing.assert_array_equal(batch["actions"][clip], np.array(blocks, np.float32))


def test_clips_of_an_episode_differ_while_they_can(shards):
    for batch in loader(shards, batch_size=8, clips_per_episode=4):
        for clips in batch["index"].reshape(-1, 4, 2):
            assert len(set(clips[:, 0].tolist())) == 1
            assert sorted(clips[:, 1].tolist()) == [0, 1, 2, 3]
    assert len(next(iter(loader(shards, frame_skip=3, clips_per_episode=4)))["index"]) == 4


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


def test_workers_do_not_change_the_order(shards):
    alone, helped = loader(shards), loader(shards, workers=2)
    for _ in range(2):
        assert_same(list(helped), list(alone))


def test_epochs_differ_when_shuffling_and_only_then(shards):
    shuffled, plain = loader(shards), loader(shards, shuffle=False)
    first, second = list(shuffled), list(shuffled)
    assert [b["index"].tolist() for b in first] != [b["index"].tolist() for b in second]
    assert_same(list(plain), list(plain))
    assert sorted({i for b in plain for i in b["index"][:, 0].tolist()}) == list(range(10))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 2, 5, 7])
def test_resuming_is_going_on(shards, taken, workers):
    def stream(source):
        while True:
            yield from source

    steady = loader(shards, workers=workers)
    batches = stream(steady)
    for _ in range(taken):
        next(batches)
    state = json.loads(json.dumps(steady.state_dict()))
    resumed = loader(shards, workers=workers)
    resumed.load_state_dict(state)
    assert_same(list(itertools.islice(stream(resumed), 9)), list(itertools.islice(batches, 9)))
    assert resumed.state_dict() == steady.state_dict()


def test_resuming_decodes_nothing_that_was_passed(shards):
    skipped = loader(shards, shuffle=False)
    skipped.load_state_dict({"epoch": 0, "batch": 2})
    damage(shards, {"e0", "e1", "e2", "e3"})
    assert len(list(skipped)) == 3 and not skipped.shards.broken


def test_a_loop_that_was_left_begins_the_next_epoch(shards):
    left, whole = loader(shards), loader(shards)
    next(iter(left))
    list(whole)
    assert_same(list(left), list(whole))


def test_the_global_generator_is_left_alone(shards):
    before = torch.get_rng_state()
    list(loader(shards))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_broken_samples_are_named_counted_and_replaced(shards, workers):
    clips = loader(shards, workers=workers, shuffle=False)
    damage(shards, {"e3", "e9"})
    with pytest.warns(UserWarning, match=r"train-000001\.tar:e3"):
        batches = list(clips)
    assert sorted(clips.shards.broken) == ["train-000001.tar:e3", "train-000003.tar:e9"]
    assert [batch["index"][::2, 0].tolist() for batch in batches] == [[0, 1], [2, 4], [4, 5], [6, 7], [8, 0]]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nothing_but_broken_samples(shards):
    clips = loader(shards)
    damage(shards, {f"e{number}" for number in range(10)})
    with pytest.raises(UserError, match="every episode"):
        list(clips)


def test_short_episodes_are_left_out_and_counted(tmp_path, write_shards, make_episode):
    shards = write_shards(tmp_path, [make_episode(number, frames=4 + number) for number in range(6)])
    with pytest.warns(UserWarning, match="3 of 6 episodes"):
        clips = loader(shards, frames=4)
    assert {i for batch in clips for i in batch["index"][:, 0].tolist()} <= {3, 4, 5}
    with pytest.raises(UserError, match="the longest has 9"):
        loader(shards, frames=6)


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"frame_skip": 0}, {"batch_size": 3}, {"clips_per_episode": -1}, {"seed": -1}]
)
def test_arguments_out_of_range(shards, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        loader(shards, **wrong)


def test_single_frames(shards):
    batch = next(iter(loader(shards, frames=1)))
    assert batch["pixels"].shape == (4, 1, 3, 6, 8) and batch["actions"].shape == (4, 0, 4)
