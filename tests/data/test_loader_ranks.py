"""Two real ranks see together what one process sees, step by step, and neither waits for the other for ever."""

import socket
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

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


def worker(rank, port, folder, runs, results):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        results.put((rank, [rank_numbers(folder, run) for run in runs]))
    finally:
        dist.destroy_process_group()


def on_two_ranks(folder, runs):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    results = mp.get_context("spawn").SimpleQueue()
    mp.spawn(worker, (port, folder, runs, results), nprocs=2)
    ranks = dict(results.get() for _ in range(2))
    return [(ranks[0][run], ranks[1][run]) for run in range(len(runs))]


def interleaved(first, second):
    return [number for pair in zip(first, second, strict=True) for batch in pair for number in batch]


def test_two_ranks_are_one_process(images):
    for run, ((first, state), (second, other)) in zip(RUNS, on_two_ranks(images, RUNS), strict=True):
        alone, _ = rank_numbers(images, run | {"workers": 0, "full": False})
        whole = [number for batch in alone for number in batch]
        together = interleaved(first, second)
        assert state == other and len(together) == state["samples"] - run.get("state", {}).get("samples", 0)
        assert together == whole[: len(together)]
        assert len(together) == (len(whole) if not run["full"] else 48)


def test_a_run_of_two_ranks_goes_on_alone(images):
    alone, _ = rank_numbers(images, {"batch_size": 10})
    two = on_two_ranks(images, [{"batch_size": 5}])[0]
    (first, _), (second, _) = two
    seen = interleaved(first[:3], second[:3])
    rest, _ = rank_numbers(images, {"batch_size": 8, "state": {"epoch": 0, "samples": len(seen), "of": 50}})
    assert seen + [number for batch in rest for number in batch] == [number for batch in alone for number in batch]


@pytest.mark.parametrize("full", [False, True])
def test_ranks_keep_step_where_all_of_a_batch_is_broken(images, full):
    with open(images / "train-000000.tar", "r+b") as file:
        file.write(bytes(15 * 3 * 1024))
    (first, _), (second, _) = on_two_ranks(images, [{"batch_size": 2, "full": full, "shuffle": False}])[0]
    assert len(first) == len(second) and all(first) and all(second)
    assert set(range(20, 50)) - {48, 49} <= set(interleaved(first, second))


def test_more_ranks_and_workers_than_shards(tmp_path, write_images):
    folder = write_images(tmp_path / "one", [11])
    (first, _), (second, _) = on_two_ranks(folder, [{"batch_size": 3, "workers": 2}])[0]
    assert [len(batch) for batch in first] == [3, 3] and [len(batch) for batch in second] == [3, 2]
    assert sorted(interleaved(first, second)) == list(range(11))
