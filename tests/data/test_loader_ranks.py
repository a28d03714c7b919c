"""Two real ranks see together what one process sees, step by step, and neither waits for the other for ever."""

import warnings

import pytest
import torch
import torch.distributed as dist

from jepa_wm.data import Images, Loader, Shards

SETTINGS = {"seed": 5, "window": 16, "max_broken": 1.0}
RUNS = [
    {"batch_size": 4, "full": False, "workers": 0},
    {"batch_size": 4, "full": True, "workers": 2},
    {"batch_size": 7, "full": False, "workers": 2},
    {"batch_size": 4, "full": False, "workers": 0, "state": {"epoch": 3, "samples": 12, "of": 50}},
]


def rank_numbers(folder, run):
    run = dict(run)
    state = run.pop("state", None)
    stream = Loader(Images(Shards(folder)), **SETTINGS | run)
    if state:
        stream.load_state_dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = []
        for batch in stream:
            # A collective in every step: a rank that made fewer would leave the other waiting.
            if dist.is_initialized():
                dist.all_reduce(torch.ones(1))
            batches.append(batch["index"][:, 0].tolist())
    return batches, stream.state_dict()


def on_a_rank(rank, folder, *runs):
    return [rank_numbers(folder, run) for run in runs]


def interleaved(first, second):
    return [number for pair in zip(first, second, strict=True) for batch in pair for number in batch]


def test_two_ranks_are_one_process(images, on_two_ranks):
    for run, (first, state), (second, other) in zip(RUNS, *on_two_ranks(on_a_rank, images, *RUNS), strict=True):
        alone, _ = rank_numbers(images, run | {"workers": 0, "full": False})
        whole = [number for batch in alone for number in batch]
        together = interleaved(first, second)
        assert state == other and len(together) == state["samples"] - run.get("state", {}).get("samples", 0)
        assert together == whole[: len(together)]
        assert len(together) == (len(whole) if not run["full"] else 48)


def test_a_run_of_two_ranks_goes_on_alone(images, on_two_ranks):
    alone, _ = rank_numbers(images, {"batch_size": 10})
    [(first, _)], [(second, _)] = on_two_ranks(on_a_rank, images, {"batch_size": 5})
    seen = interleaved(first[:3], second[:3])
    rest, _ = rank_numbers(images, {"batch_size": 8, "state": {"epoch": 0, "samples": len(seen), "of": 50}})
    assert seen + [number for batch in rest for number in batch] == [number for batch in alone for number in batch]


@pytest.mark.parametrize("full", [False, True])
def test_ranks_keep_step_where_all_of_a_batch_is_broken(images, full, on_two_ranks):
    with open(images / "train-000000.tar", "r+b") as file:
        file.write(bytes(15 * 3 * 1024))
    run = {"batch_size": 2, "full": full, "shuffle": False}
    [(first, _)], [(second, _)] = on_two_ranks(on_a_rank, images, run)
    assert len(first) == len(second) and all(first) and all(second)
    assert set(range(20, 50)) - {48, 49} <= set(interleaved(first, second))


@pytest.mark.slow
def test_more_ranks_and_workers_than_shards(tmp_path, write_images, on_two_ranks):
    folder = write_images(tmp_path / "one", [11])
    [(first, _)], [(second, _)] = on_two_ranks(on_a_rank, folder, {"batch_size": 3, "workers": 2})
    assert [len(batch) for batch in first] == [3, 3] and [len(batch) for batch in second] == [3, 2]
    assert sorted(interleaved(first, second)) == list(range(11))
