"""Folders of shards with random episodes or small images, made for each test."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepa_wm.data import Episode, ShardWriter
from jepa_wm.data.writer import summarise, write_shard
from jepa_wm.manifest import write_manifest


def _make_episode(number: int, frames: int = 8, size: int = 6) -> Episode:
    """Random pixels; state and action say which episode and which step they belong to."""
    rng = np.random.default_rng(number)
    step = np.arange(frames, dtype=np.float32)
    return Episode(
        frames=rng.integers(0, 256, (frames, 3, size, size + 2), dtype=np.uint8),
        actions=np.stack([np.full(frames - 1, number), step[:-1]], axis=1).astype(np.float32),
        state=np.stack([np.full(frames, number), step, -step], axis=1).astype(np.float32),
        reward=rng.random(frames - 1, dtype=np.float32),
        captions=[f"episode {number}, frame {t}: ö" for t in range(frames)],
        factors={"agent_color": [255.0, 0.0, 0.5], "agent_size": number / 7},
        id=f"e{number}",
    )


def _write_shards(folder: Path, episodes: list[Episode], per_shard: int = 3, codec: str = "png") -> Path:
    """A finished folder with `episodes` as its train split."""
    with ShardWriter(folder, "train", per_shard, codec) as writer:
        for episode in episodes:
            writer.write(episode)
    write_manifest(
        folder,
        "collect",
        kind="episodes",
        config={},
        frame_shape=list(episodes[0].frames.shape[1:]),
        splits={"train": writer.summary()},
        statistics=writer.statistics(),
    )
    return folder


def _make_image(number: int, size: int = 4) -> np.ndarray:
    """Pixels (size, size, 3) that tell which image it is."""
    return np.full((size, size, 3), [number % 256, number // 256, 7], np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "png")
    return data.getvalue()


def _write_images(folder: Path, counts: list[int]) -> Path:
    """A finished folder of images, so many in each shard; image i is `_make_image(i)`, of class i % 10."""
    numbers = iter(range(sum(counts)))
    shards = [
        write_shard(
            folder / f"train-{shard:06d}.tar",
            (
                (f"i{number}", {"png": _png(_make_image(number)), "cls": b"%d" % (number % 10), "txt": b"image"})
                for number in (next(numbers) for _ in range(count))
            ),
        )
        for shard, count in enumerate(counts)
    ]
    write_manifest(folder, "pack", kind="images", config={}, splits={"train": summarise(shards)})
    return folder


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    return _make_episode


@pytest.fixture
def write_shards() -> Callable[..., Path]:
    return _write_shards


@pytest.fixture
def write_images() -> Callable[..., Path]:
    return _write_images


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return _write_shards(tmp_path / "shards", [_make_episode(number) for number in range(10)])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """50 images in shards of 20, 1, 0, 16 and 13."""
    return _write_images(tmp_path / "images", [20, 1, 0, 16, 13])
