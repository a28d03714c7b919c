"""A folder of shards with random episodes, small enough to be made for each test."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jepa_wm.data import Episode, ShardWriter
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


def _write_shards(folder: Path, episodes: list[Episode], per_shard: int = 3) -> Path:
    """A finished folder with `episodes` as its train split."""
    with ShardWriter(folder, "train", per_shard) as writer:
        for episode in episodes:
            writer.write(episode)
    write_manifest(
        folder,
        "collect",
        config={},
        frame_shape=list(episodes[0].frames.shape[1:]),
        splits={"train": writer.summary()},
        statistics=writer.statistics(),
    )
    return folder


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    return _make_episode


@pytest.fixture
def write_shards() -> Callable[..., Path]:
    return _write_shards


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return _write_shards(tmp_path / "shards", [_make_episode(number) for number in range(10)])
