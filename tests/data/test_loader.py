"""Batches: the same sequence whatever the workers and the interruptions, each sample once, broken ones aside."""

import io
import itertools
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from jepa_wm.data import EpisodeShards, Images, Loader, Mixture, Shards
from jepa_wm.data.clips import Clips
from jepa_wm.data.writer import write_shard
from jepa_wm.errors import UserError


def clips(folder, **changes):
    return Clips(EpisodeShards(folder), **{"frames": 3, "frame_skip": 2, "clips": 2} | changes)


def loader(folder, **changes):
    return Loader(clips(folder), **{"batch_size": 4, "seed": 5} | changes)


def pictures(folder, **changes):
    return Loader(Images(Shards(folder)), **{"batch_size": 8, "seed": 5, "window": 16} | changes)


def numbers(batches):
    return [number for batch in batches for number in batch["index"][:, 0].tolist()]


def assert_same(got, expected):
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.keys() == other.keys() and one["captions"] == other["captions"]
        for name in one.keys() - {"captions"}:
            assert torch.equal(one[name], other[name])


def damage(folder, keys, extension="png"):
    """Overwrite the pixels of `keys` in place."""
    for shard in folder.glob("*.tar"):
        with tarfile.open(shard) as tar:
            at = [m.offset_data for m in tar if m.name.endswith(extension) and m.name.partition(".")[0] in keys]
        with open(shard, "r+b") as file:
            for offset in at:
                file.seek(offset)
                file.write(b"\0" * 64)


def test_each_image_comes_once_as_it_was_stored(images):
    stream = pictures(images)
    batches = list(stream)
    assert [len(batch["pixels"]) for batch in batches] == [8] * 6 + [2] and len(stream) == 7
    assert sorted(numbers(batches)) == list(range(50)) and numbers(batches) != list(range(50))
    for batch in batches:
        for row, number in enumerate(batch["index"][:, 0].tolist()):
            assert batch["pixels"][row, :, 0, 0].tolist() == [number, 0, 7]
            assert batch["labels"][row] == number % 10 and batch["captions"][row] == "image"


def test_full_batches_leave_out_what_fills_none(images):
    assert [len(batch["pixels"]) for batch in pictures(images, full=True)] == [8] * 6


# Two cores suggest two workers at most.
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [2, 4])
def test_workers_do_not_change_the_order(images, shards, workers):
    for make, folder in ((pictures, images), (loader, shards)):
        alone, helped = make(folder), make(folder, workers=workers)
        for _ in range(2):
            assert_same(list(helped), list(alone))


def test_epochs_differ_when_shuffling_and_only_then(images):
    shuffled, plain = pictures(images), pictures(images, shuffle=False)
    assert numbers(shuffled) != numbers(shuffled)
    assert numbers(plain) == numbers(plain) == list(range(50))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 2, 5, 7])
def test_resuming_is_going_on(shards, taken, workers):
    steady = loader(shards, workers=workers)
    batches = endless(steady)
    for _ in range(taken):
        next(batches)
    state = json.loads(json.dumps(steady.state_dict()))
    resumed = loader(shards, workers=workers)
    resumed.load_state_dict(state)
    assert_same(list(itertools.islice(endless(resumed), 9)), list(itertools.islice(batches, 9)))
    assert resumed.state_dict() == steady.state_dict()


def endless(source):
    while True:
        yield from source


def test_resuming_decodes_nothing_that_was_passed(shards):
    skipped = loader(shards, shuffle=False)
    skipped.load_state_dict({"epoch": 0, "samples": 4, "of": 10})
    damage(shards, {"e0", "e1", "e2", "e3"})
    assert len(list(skipped)) == 3 and not skipped.broken[0].why


def test_resuming_with_other_batches_goes_on_with_the_next_sample(images):
    whole = numbers(pictures(images))
    before = pictures(images, batch_size=7)
    batches = iter(before)
    seen = numbers(next(batches) for _ in range(3))
    after = pictures(images, batch_size=4)
    after.load_state_dict(before.state_dict())
    assert seen + numbers(after) == whole


def test_resuming_over_other_data_is_refused(images, tmp_path, write_images):
    other = pictures(write_images(tmp_path / "other", [30]))
    with pytest.raises(UserError, match=r"had 50 samples .* has 30"):
        other.load_state_dict(pictures(images).state_dict())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_that_was_left_begins_the_next_epoch(shards, workers):
    left, whole = loader(shards, workers=workers), loader(shards)
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
    stream = loader(shards, workers=workers, shuffle=False, full=True, max_broken=0.2)
    damage(shards, {"e3", "e9"})
    with pytest.warns(UserWarning, match=r"train-000001\.tar:e3"):
        batches = list(stream)
    assert sorted(stream.broken[0].why) == ["train-000001.tar:e3", "train-000003.tar:e9"]
    assert [batch["index"][::2, 0].tolist() for batch in batches] == [[0, 1], [2, 4], [4, 5], [6, 7], [8, 0]]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_broken_samples_are_missing_from_batches_that_need_not_be_full(images, workers):
    broken = {3, 8, 9, 10, 11, 12, 13, 14, 15, 42}
    damage(images, {f"i{number}" for number in broken})
    stream = pictures(images, workers=workers, shuffle=False, max_broken=0.2)
    assert numbers(stream) == [number for number in range(50) if number not in broken]
    assert len(stream.broken[0]) == 10


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_too_many_broken_samples_stop_with_a_list(images):
    damage(images, {"i3", "i8"})
    with pytest.raises(UserError, match=r"2 of the 50 .* 3\.0% .*tar:i3: .*tar:i8: .*verify"):
        list(pictures(images, max_broken=0.03))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_broken_samples(shards, workers):
    stream = loader(shards, full=True, max_broken=1, workers=workers)
    damage(shards, {f"e{number}" for number in range(10)})
    with pytest.raises(UserError, match=r"^every sample of"):
        list(stream)


def test_a_mixture_draws_by_weight_and_counts(images, shards, tmp_path, write_images):
    other = write_images(tmp_path / "other", [30, 20])
    mixed = Mixture([Images(Shards(images)), Images(Shards(other))], [3, 1])
    stream = Loader(mixed, 10, seed=5, window=16)
    assert len(stream) == 10
    epochs = [numbers(stream) for _ in range(10)]
    assert stream.drawn == [750, 250] and all(len(epoch) == 100 for epoch in epochs)
    resumed = Loader(Mixture([Images(Shards(images)), Images(Shards(other))], [3, 1]), 10, seed=5, window=16, workers=2)
    resumed.load_state_dict({"epoch": 4, "samples": 30, "of": 100})
    assert numbers(resumed) == epochs[4][30:]


def test_a_mixture_of_unlike_sources(images, shards):
    with pytest.raises(UserError, match="rows a sample"):
        Mixture([Images(Shards(images)), clips(shards)], [1, 1])


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"batch_size": 3}, {"seed": -1}, {"workers": -1}, {"window": 0}, {"max_broken": -1}]
)
def test_arguments_out_of_range(shards, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        loader(shards, **wrong)


def test_images_of_different_sizes_ask_for_a_transform(images, tmp_path):
    (tmp_path / "folder").mkdir()
    members = []
    for size in (4, 6):
        Image.new("RGB", (size, size)).save(tmp_path / "image.png")
        members.append((f"i{size}", {"png": (tmp_path / "image.png").read_bytes()}))
    write_shard(tmp_path / "a.tar", members)
    with pytest.raises(UserError, match="transform"):
        list(Loader(Images(Shards(tmp_path / "a.tar")), 2))


def test_memory_of_pixels_is_channels_last(shards):
    pixels = next(iter(loader(shards)))["pixels"]
    assert pixels.shape == (4, 3, 3, 6, 8) and pixels.movedim(2, -1).is_contiguous()
    assert np.asarray(pixels).dtype == np.uint8


def test_a_class_beyond_64_bits_is_a_broken_sample(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "png")
    classes = (b"1", b"9" * 20, b"2")
    samples = [(f"k{n}", {"png": picture.getvalue(), "cls": cls}) for n, cls in enumerate(classes)]
    write_shard(tmp_path / "a.tar", samples)
    stream = Loader(Images(Shards(str(tmp_path / "a.tar"))), 3, shuffle=False, max_broken=0.5)
    with pytest.warns(UserWarning, match="broken sample a.tar:k1"):
        (batch,) = stream
    assert batch["labels"].tolist() == [1, 2]
    assert [name.rpartition(":")[2] for name in stream.broken[0].why] == ["k1"]
