"""`jepa-wm shards pack`: convert another format to shards."""

import json
from typing import Any

import numpy as np

from jepa_wm.data.episodes import DEFAULT_CODEC
from jepa_wm.data.importers import Importer
from jepa_wm.data.randomness import generator
from jepa_wm.data.verbs.packing import Making, Storage, plan, write_folder
from jepa_wm.errors import UserError

PER_SHARD = {"images": 1000, "videos": 100, "episodes": 256}


def pack(
    source: Importer,
    out: str,
    held_out: float = 0.1,
    samples_per_shard: int | None = None,
    codec: str = DEFAULT_CODEC,
    quality: int | None = None,
    max_skipped: float = 0.01,
    workers: int = 1,
    seed: int = 0,
) -> None:
    """Convert another format to shards.

    Samples are mixed by the seed first, so that each shard is like the whole. A sample that cannot be read is
    left out and listed in the manifest. A pack that was interrupted goes on where it was, and the same
    arguments give the same bytes, whatever the number of workers.

    Args:
        source: an importer with its arguments, such as `--source ImageFolder --source.folder photos`.
        out: folder for the shards.
        held_out: share of the samples that is kept from training, half for val, half for test; 0 for none.
        samples_per_shard: samples in each shard but the last; by default 1000 images, 100 videos, 256 episodes.
        codec: how frames of episodes are stored: mjpeg, webp, png or mp4; see docs/shards.md.
        quality: of the codec; its own by default.
        max_skipped: share of the samples that may be left out before it stops.
        workers: processes.
        seed: seeds the mixing.

    Raises:
        UserError: if an argument is out of range, `out` holds something else, or too many samples cannot be read.
    """
    if not 0 <= held_out < 1 or seed < 0:
        raise UserError(f"held_out is {held_out}, seed {seed}; expected 0 to 1, and at least 0")
    config: dict[str, Any] = {
        "source": {"class": type(source).__name__, **_arguments(source)},
        "held_out": held_out,
        "samples_per_shard": samples_per_shard or PER_SHARD[source.kind],
        "codec": codec,
        "quality": quality,
        "seed": seed,
    }
    splits = divide(generator("pack", seed).permutation(len(source)), held_out)
    shards = plan(splits, config["samples_per_shard"])
    write_folder(out, Making("pack", config), source, shards, Storage(codec, quality, max_skipped), workers)


def divide(order: np.ndarray, held_out: float) -> dict[str, list[int]]:
    """Numbers in some order into "train", "val" and "test", the latter two of equal size.

    Raises:
        UserError: if there are too few.
    """
    if not held_out:
        return {"train": order.tolist()}
    half = max(1, round(len(order) * held_out / 2))
    if len(order) < 2 * half + 1:
        raise UserError(f"{len(order)} samples (or groups) are too few to hold {held_out:.0%} out; use held_out=0")
    test, val, train = order[:half], order[half : 2 * half], order[2 * half :]
    return {"train": train.tolist(), "val": val.tolist(), "test": test.tolist()}


def _arguments(source: Importer) -> dict[str, Any]:
    """The plain values an importer was made with, as JSON gives them back; what is not plain, as text."""
    public = {name: value for name, value in vars(source).items() if not name.startswith("_")}
    plain: dict[str, Any] = json.loads(json.dumps(public, default=lambda value: type(value).__name__))
    return plain
