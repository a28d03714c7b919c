"""Images on one core: the loader beside the bare decoder and webdataset's pipeline; part of `benchmarks.data`."""

import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
import webdataset
from PIL import Image

from jepa_wm.data import Images, Loader, Shards
from jepa_wm.data.writer import summarise, write_shard
from jepa_wm.manifest import write_manifest

COUNT, BATCH = 1024, 32
SIZES = {"small": (224, 224), "imagenet": (375, 500)}
"""Heights and widths: crops, and what most pictures of ImageNet have."""


def photograph(number: int, height: int, width: int) -> bytes:
    """A JPEG with about the detail of a photograph: noise of all scales."""
    rng = np.random.default_rng(number)
    picture = np.zeros((height, width, 3))
    for side in (4, 8, 16, 32, 64, 128, height):
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        picture += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float) / side**0.6
    picture -= picture.min()
    data = io.BytesIO()
    Image.fromarray((picture * (255 / picture.max())).astype(np.uint8)).save(data, "jpeg", quality=90)
    return data.getvalue()


def write(folder: Path, height: int, width: int) -> None:
    """Shards of photographs."""
    samples = [(f"{number:06d}", {"jpg": photograph(number, height, width)}) for number in range(COUNT)]
    records = [
        write_shard(folder / f"train-{start // 256:06d}.tar", samples[start : start + 256])
        for start in range(0, COUNT, 256)
    ]
    write_manifest(folder, "pack", kind="images", config={}, splits={"train": summarise(records)})


def measure(work: Path, size: str, repeats: int) -> dict[str, Any]:
    """Images a second by the bare decoder, by webdataset with the same decoder, and by the loader."""
    folder = work / f"photographs-{size}"
    if not folder.exists():
        write(folder, *SIZES[size])
    torch.set_num_threads(1)
    shards = Shards(folder)
    data = [shards.members(number, "jpg")["jpg"] for number in range(COUNT)]
    loader = Loader(Images(shards), BATCH, full=True)
    ways: dict[str, Callable[[], None]] = {
        "decoder": lambda: _drain(simplejpeg.decode_jpeg(picture, "RGB") for picture in data),
        "webdataset": lambda: _drain(_pipeline(folder)),
        "ours": lambda: _drain(loader),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            # The first round warms the disk's cache.
            if repeat:
                rates[name].append(COUNT / (time.perf_counter() - start))
    ratio = {
        name: statistics.median(a / b for a, b in zip(rates["ours"], rates[name], strict=True))
        for name in ("decoder", "webdataset")
    }
    return {
        "rates": {name: statistics.median(own) for name, own in rates.items()},
        "ratios": ratio,
        "bytes": sum(map(len, data)) / COUNT,
    }


def _pipeline(folder: Path) -> Any:
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    return (
        webdataset.WebDataset(urls, shardshuffle=len(urls), nodesplitter=webdataset.split_by_node)
        .shuffle(1000)
        .decode(webdataset.handle_extension("jpg", lambda data: simplejpeg.decode_jpeg(data, "RGB")))
        .to_tuple("jpg")
        .batched(BATCH, collation_fn=lambda rows: torch.from_numpy(np.stack([row[0] for row in rows])))
    )


def _drain(batches: Any) -> None:
    for _ in batches:
        pass
