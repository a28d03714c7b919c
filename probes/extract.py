"""`jepa-wm probe extract`: what encoders make of frames or images, layer by layer, to a store."""

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from jepa_wm.errors import UserError
from probes.draw import identity_of, read_rows
from probes.features import SHARES, Rows
from probes.levels import EMBED, LATENT, POOLINGS
from probes.passes import Crew, Task, Wanted, load, plan
from probes.sources import Source, check_sources, find_sources, fingerprint
from probes.store import Entry, FeatureStore, open_store

PARTIAL = ".arrays"
"""How folders of arrays that are being filled end."""


def extract(
    models: list[str],
    data: str,
    out: str,
    frames: int = 3000,
    each: int | None = None,
    poolings: tuple[str, ...] = ("mean",),
    layers: Literal["all"] | list[str | int] = "all",
    steps: Literal["last", "all"] = "last",
    splits: tuple[str, ...] = tuple(SHARES),
    size: int | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    seed: int = 0,
    processes: int = 1,
    replace: bool = False,
) -> None:
    """Write the features of frames or images, by any models and of all their layers, to a store.

    What is there already is not made again, so an extraction that was killed goes on, and another call adds models,
    layers or poolings to the same rows. Each model reads a frame once, whatever the number of layers.

    Args:
        models: names of `load_encoder`, runs among them; `RUN@teacher`, `RUN@*` for all checkpoints; `NAME:text` for
            the text tower on their captions; `RUN:world`; `random:NAME` for fresh weights; `state`; `pixels`.
        data: folder of shards, of episodes or of images.
        out: folder of the store.
        frames: frames or images of the training split; a tenth as many of val, two fifths of test.
        each: frames of an episode, at most; 1 so that no frame's neighbours are merely moments later. Of images
            captions of one, each a row; if it is not given, the first.
        poolings: of a layer's tokens: "mean", "class" where there is such a token, "tokens" for all of them.
        layers: "all", or some of "embed", "0", "1" …, "latent"; of each model those that it has.
        steps: "all" for every checkpoint of runs, "last" for their end.
        splits: of the shards.
        size: of images, side in pixels to which they are resized and cropped for what has no size of its own: runs of
            this package, and `pixels`; as they are if it is not given.
        dtype: of the numbers in the store; of float16 three digits are left.
        seed: seeds the draw of frames and fresh weights.
        processes: that share the passes; the result is the same to the byte. Each takes a GPU of its own where there
            are several; on the CPU each takes as many threads as one alone would (OMP_NUM_THREADS).
        replace: make features anew whose model has other weights now; otherwise that is refused.

    Raises:
        UserError: if a name, layer, pooling or split is unknown, the shards are missing or unfinished or lack
            captions that are read, the store is one of other frames, or features are no finite numbers.
    """
    kept = None if layers == "all" else [str(layer) for layer in layers]
    if not models:
        raise UserError("probe extract: got no models; expected one or more, such as a run, 'state' or 'pixels'")
    _check(poolings, splits, kept, frames=frames, each=each, size=size, processes=processes)
    sources = [source for name in models for source in find_sources(name, steps, seed)]
    check_sources(sources, data, size)
    identity = {
        **identity_of(data),
        **({"size": size} if size else {}),
        **{"frames": frames, "each": each, "seed": seed, "dtype": dtype},
    }
    rows = read_rows(data, frames, seed, each, size)
    Path(out).mkdir(parents=True, exist_ok=True)
    with FileLock(Path(out) / ".lock"):
        store = open_store(out, rows, identity)
    wanted = Wanted(poolings, kept)
    chosen = {split: rows[split] for split in splits}
    with Crew(processes) as crew, tqdm(sources, desc="models", leave=False, disable=None) as bar:
        made = sum(add_features(store, source, chosen, wanted, crew, replace) for source in bar)
    print(f"{made} arrays made, {len(store.entries())} in all: {out}")


def add_features(
    store: FeatureStore,
    source: Source,
    rows: dict[str, Rows],
    wanted: Wanted,
    crew: Crew,
    replace: bool = False,
) -> int:
    """Add what a source makes of rows to a store, as far as it is not there; how many arrays were made.

    Raises:
        UserError: as of `extract`.
    """
    reader = load(source)
    weights = fingerprint(source, reader)
    place = store.place(source.model, source.step)
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"):
        # Left by processes that were killed: nobody else writes here now.
        for stale in place.glob(f"*{PARTIAL}"):
            rmtree(stale)
        entries = before = _still_true(store, source, weights, replace)
        for split, part in rows.items():
            there = {(entry.layer, entry.pooling) for entry in entries if entry.split == split}
            with TemporaryDirectory(PARTIAL, dir=place) as aside:
                task = plan(reader, part, wanted, there, Path(aside), store.manifest["config"]["dtype"])
                if task.files:
                    crew.fill(source, reader, task)
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
            f"{source.titled} has other weights or another configuration than when its features "
            f"were made; say replace: true to make them anew, or delete {store.place(source.model, source.step)}"
        )
    store.forget(source.model, source.step)
    return []


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


def _check(poolings: Sequence[str], splits: Sequence[str], layers: Sequence[str] | None, **numbers: int | None) -> None:
    odd = [layer for layer in layers or () if not layer.isdecimal() and layer not in (EMBED, LATENT)]
    if odd or layers == []:
        raise UserError(f"probe extract: got the layers {', '.join(odd) or 'none'}; expected embed, 0, 1 … or latent")
    for what, got, known in (("poolings", poolings, POOLINGS), ("splits", splits, tuple(SHARES))):
        if not got or not set(got) <= set(known):
            wanted = ", ".join(known)
            raise UserError(f"probe extract: got {what} {', '.join(got) or 'none'}; expected some of {wanted}")
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UserError(f"probe extract: got {name} {number}; expected 1 or more")
