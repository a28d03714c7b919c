"""`jepa-wm probe extract`: what encoders make of frames, layer by layer, to a store."""

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.multiprocessing as mp
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from jepa_wm.data import EpisodeShards
from jepa_wm.errors import UserError
from probes.features import SHARES, Rows, read_splits
from probes.levels import POOLINGS, Key, Readout
from probes.readers import Reader
from probes.sources import Source, find_sources, fingerprint
from probes.store import Entry, FeatureStore, open_store, titled

BATCH = 64
"""Rows of a pass. All processes pass over the same batches, so their number changes no byte."""
CHUNK = 2**24
"""Numbers that are looked through for NaN at once."""


class Wanted(NamedTuple):
    """What is kept of each pass: some of `POOLINGS`, and the layers by name, None for all."""

    poolings: Sequence[str]
    layers: Sequence[str] | None


class Task(NamedTuple):
    """One split to be read.

    Attributes:
        rows: those that differ in what is read.
        own: for each row of the split, which of these is like it, int64 (n,).
        wanted: what is kept.
        files: arrays to be filled, by layer and pooling.
    """

    rows: Rows
    own: Tensor
    wanted: Wanted
    files: dict[Key, Path]


def extract(
    models: list[str],
    data: str,
    out: str,
    frames: int = 3000,
    each: int | None = None,
    poolings: tuple[str, ...] = ("mean",),
    layers: Literal["all"] | list[str] = "all",
    steps: Literal["last", "all"] = "last",
    splits: tuple[str, ...] = tuple(SHARES),
    dtype: Literal["float32", "float16"] = "float32",
    seed: int = 0,
    processes: int = 1,
    replace: bool = False,
) -> None:
    """Write the features of frames, by any models and of all their layers, to a store.

    What is there already is not made again, so an extraction that was killed goes on, and another call adds models,
    layers or poolings to the same rows. Each model reads a frame once, whatever the number of layers.

    Args:
        models: names of `load_encoder`, runs among them; `RUN@teacher`, `RUN@*` for all checkpoints; `NAME:text` for
            the text tower on the frames' captions; `RUN:world`; `random:NAME` for fresh weights; `state`; `pixels`.
        data: folder of shards.
        out: folder of the store.
        frames: frames of the training split; a tenth as many of val, two fifths of test.
        each: frames of an episode, at most; 1 so that no frame's neighbours are merely moments later.
        poolings: of a layer's tokens: "mean", "class" where there is such a token, "tokens" for all of them.
        layers: "all", or some of "embed", "0", "1" …, "latent".
        steps: "all" for every checkpoint of runs, "last" for their end.
        splits: of the shards.
        dtype: of the numbers in the store; of float16 three digits are left.
        seed: seeds the draw of frames and fresh weights.
        processes: that share the passes; the result is the same to the byte. Each takes a GPU of its own where there
            are several; on the CPU each takes as many threads as one alone would (OMP_NUM_THREADS).
        replace: make features anew whose model has other weights now; otherwise that is refused.

    Raises:
        UserError: if a name, layer, pooling or split is unknown, the shards are missing or unfinished or lack
            captions that are read, the store is one of other frames, or features are no finite numbers.
    """
    _check(poolings, splits, frames, each, processes)
    sources = [source for name in models for source in find_sources(name, steps, seed)]
    identity = {
        "data_hash": (EpisodeShards(data).manifest or {}).get("data_hash"),
        **{"frames": frames, "each": each, "seed": seed, "dtype": dtype},
    }
    rows = read_splits(data, frames, seed, each)
    Path(out).mkdir(parents=True, exist_ok=True)
    with FileLock(Path(out) / ".lock"):
        store = open_store(out, rows, identity)
    wanted = Wanted(poolings, None if layers == "all" else layers)
    made = 0
    for source in tqdm(sources, desc="models", leave=False):
        made += add_features(store, source, {split: rows[split] for split in splits}, wanted, processes, replace)
    print(f"{made} arrays made, {len(store.entries())} in all: {out}")


def add_features(
    store: FeatureStore,
    source: Source,
    rows: dict[str, Rows],
    wanted: Wanted,
    processes: int = 1,
    replace: bool = False,
) -> int:
    """Add what a source makes of rows to a store, as far as it is not there; how many arrays were made.

    Raises:
        UserError: as of `extract`.
    """
    reader = source.load().to(_device(0))
    weights = fingerprint(source, reader)
    place = store.place(source.model, source.step)
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"):
        # Left by processes that were killed: nobody else writes here now.
        for stale in place.glob("*.partial"):
            rmtree(stale)
        entries = before = _still_true(store, source, weights, replace)
        for split, part in rows.items():
            there = {(entry.layer, entry.pooling) for entry in entries if entry.split == split}
            with TemporaryDirectory(dir=place, suffix=".partial") as aside:
                task = _task(reader, part, wanted, there, Path(aside), store.manifest["config"]["dtype"])
                if task.files:
                    _run(source, reader, task, processes)
                    about = (store.manifest["rows"][split], weights, reader.source)
                    entries = [*entries, *_keep(store, source, split, task, about)]
                    store.record(entries)
    return len(entries) - len(before)


def _still_true(store: FeatureStore, source: Source, weights: str, replace: bool) -> list[Entry]:
    """What the store has of a source, if these weights made it; else it is refused, or forgotten."""
    entries = store.entries(source.model, source.step)
    if all(entry.weights == weights for entry in entries):
        return entries
    if not replace:
        raise UserError(
            f"{titled(source.model, source.step)} has other weights or another configuration than when its features "
            f"were made; say replace: true to make them anew, or delete {store.place(source.model, source.step)}"
        )
    store.forget(source.model, source.step)
    return []


@torch.no_grad()
def _task(reader: Reader, rows: Rows, wanted: Wanted, there: set[Key], aside: Path, dtype: str) -> Task:
    """What is to be done of a split, with empty arrays for all that is not there yet."""
    which, own = reader.distinct(rows)
    readout = Readout(*wanted)
    reader(rows.take(which[:1]), readout)
    unknown = [layer for layer in wanted.layers or () if layer not in readout.passed]
    if unknown:
        raise UserError(f"{reader.source}: got the layers {', '.join(unknown)}; it has {', '.join(readout.passed)}")
    if not readout.found:
        raise UserError(f"{reader.source} has no {' or '.join(wanted.poolings)} of its layers; ask for 'mean'")
    files = {}
    for key, value in readout.found.items():
        if key not in there:
            files[key] = aside / f"{'.'.join(key)}.npy"
            np.lib.format.open_memmap(files[key], "w+", np.dtype(dtype), (len(own), *value.shape[1:])).flush()
    return Task(rows.take(which), own, wanted, files)


def _run(source: Source, reader: Reader, task: Task, processes: int) -> None:
    """Fill a task's arrays."""
    if processes == 1:
        fill(reader, task)
    else:
        mp.spawn(_fill_share, (processes, torch.get_num_threads(), source, task), nprocs=processes)
    for (layer, _), path in task.files.items():
        array = np.load(path, mmap_mode="r").reshape(-1)
        if not all(np.isfinite(array[at : at + CHUNK]).all() for at in range(0, len(array), CHUNK)):
            hint = (
                "they may be too large for float16: use another 'out' with float32" if array.dtype == np.float16 else ""
            )
            raise UserError(
                f"{titled(source.model, source.step)}: features of layer {layer} "
                f"hold NaN or infinity; {hint or 'the model has diverged: leave it out'}"
            )


def _fill_share(rank: int, processes: int, threads: int, source: Source, task: Task) -> None:
    torch.set_num_threads(threads)
    fill(source.load().to(_device(rank)), task, rank, processes)


@torch.no_grad()
def fill(reader: Reader, task: Task, rank: int = 0, processes: int = 1) -> None:
    """Pass over the batches whose turn is this process's, and write what they give to all rows that are alike."""
    arrays = {key: np.load(path, mmap_mode="r+") for key, path in task.files.items()}
    own, count = task.own.numpy(), len(task.rows.ids)
    for start in range(rank * BATCH, count, processes * BATCH):
        end = min(start + BATCH, count)
        readout = Readout(*task.wanted)
        reader(task.rows.take(torch.arange(start, end)), readout)
        at = np.flatnonzero((own >= start) & (own < end))
        for key, array in arrays.items():
            array[at] = readout.found[key].cpu().numpy()[own[at] - start]


def _keep(store: FeatureStore, source: Source, split: str, task: Task, about: tuple[str, str, str]) -> list[Entry]:
    """Bring a task's arrays to their places."""
    entries = []
    for key, path in task.files.items():
        n, *tokens, d = np.load(path, mmap_mode="r").shape
        entry = Entry(source.model, source.step, *key, split, n, d, tokens[0] if tokens else None, *about)
        store.path(entry).parent.mkdir(exist_ok=True)
        path.replace(store.path(entry))
        entries.append(entry)
    return entries


def _device(rank: int) -> str:
    return f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"


def _check(poolings: Sequence[str], splits: Sequence[str], frames: int, each: int | None, processes: int) -> None:
    for what, got, known in (("poolings", poolings, POOLINGS), ("splits", splits, tuple(SHARES))):
        if not got or not set(got) <= set(known):
            raise UserError(
                f"probe extract: got {what} {', '.join(got) or 'none'}; expected some of {', '.join(known)}"
            )
    for name, number in (("frames", frames), ("each", each), ("processes", processes)):
        if number is not None and number < 1:
            raise UserError(f"probe extract: got {name} {number}; expected 1 or more")
