"""Clips of episodes, ours beside stable-worldmodel's; part of `python -m benchmarks.data`.

As a script it reads clips in a process of its own: FOLDER WORKERS BATCHES BATCH FRAMES SKIP.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jepa_wm.control.two_rooms_player import TwoRoomsPlayer
from jepa_wm.data import Clips, EpisodeShards, Loader, ShardWriter
from jepa_wm.data.episodes import Episode
from jepa_wm.manifest import write_manifest

WORKERS, BATCH, FRAMES, SKIP, PER_EPISODE = 2, 64, 4, 5, 4
EPISODES = {64: 1024, 224: 256}
BATCHES = {64: 200, 224: 50}
FACTORS = {"agent_color": "sample", "agent_size": "sample"}
PEER = Path(__file__).parent / "peers" / "swm_clips.py"


class Peer(NamedTuple):
    """The Python that has stable-worldmodel, and a clone to use in place of what is installed there."""

    python: str | None = None
    source: str | None = None

    def run(self, form: str, *arguments: str) -> str:
        """What its script prints, by the "lance release" or the "lance clone"."""
        path = {"PYTHONPATH": str(self.source)} if form == "lance clone" else {}
        return _run([str(self.python), str(PEER), *arguments], path)

    @property
    def forms(self) -> list[str]:
        """What there is to compare with."""
        return ["lance release"] * bool(self.python) + ["lance clone"] * bool(self.python and self.source)


def play(size: int) -> list[Episode]:
    """Episodes of 51 frames of the two-room world."""
    player = TwoRoomsPlayer(size, 50, 64, FACTORS, 0.5)
    count = EPISODES[size]
    return [
        episode
        for start in range(0, count, 64)
        for episode in player.play([f"e{number:06d}" for number in range(start, start + 64)], [0, size, start])
    ]


def write_ours(folder: Path, episodes: list[Episode], codec: str) -> None:
    """The episodes as shards."""
    with ShardWriter(folder, "train", codec=codec) as writer:
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


def write_peer(table: Path, episodes: list[Episode], peer: Peer) -> None:
    """The same frames, as they were painted, by the peer's own writer."""
    raw = table.with_suffix(".raw")
    raw.mkdir(parents=True)
    for episode in episodes:
        actions = np.concatenate([episode.actions, np.zeros_like(episode.actions[:1])])
        np.savez(
            raw / f"{episode.id}.npz", pixels=episode.frames.transpose(0, 2, 3, 1), action=actions, state=episode.state
        )
    peer.run(peer.forms[-1], "write", *map(str, sorted(raw.glob("*.npz"))), str(table))
    for path in raw.glob("*.npz"):
        path.unlink()


def read(folder: str, workers: int, batches: int, batch: int, frames: int, skip: int) -> None:
    """Print seconds to the first batch, and clips a second after it."""
    start = time.perf_counter()
    loader = Loader(Clips(EpisodeShards(folder), frames, skip, PER_EPISODE), batch, workers=workers, full=True)
    seen, first = 0, 0.0
    while seen <= batches:
        for rows in loader:
            assert rows["pixels"].shape[:2] == (batch, frames)
            if not seen:
                first, start = time.perf_counter() - start, time.perf_counter()
            seen += 1
            if seen > batches:
                break
    print(json.dumps({"first_batch_s": first, "clips": batch * (seen - 1) / (time.perf_counter() - start)}))


def measure(work: Path, size: int, peer: Peer, repeats: int) -> dict[str, dict[str, Any]]:
    """For "ours", "compact" (of 224 px) and the peer: clips a second, bytes a frame, seconds to the first batch."""
    forms = {"ours": "mjpeg"} | ({"compact": "mp4"} if size == 224 else {})
    folders = {name: work / f"{name}-{size}" for name in forms}
    table = work / f"lance-{size}" / "table.lance"
    if not all(folder.exists() for folder in [*folders.values(), *([table] if peer.python else [])]):
        episodes = play(size)
        for name, codec in forms.items():
            write_ours(folders[name], episodes, codec)
        if peer.python:
            write_peer(table, episodes, peer)
    settings = [str(number) for number in (WORKERS, BATCHES[size], BATCH, FRAMES, SKIP)]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in [*folders, *peer.forms]}
    for _ in range(repeats):
        for name, own in runs.items():
            if name in folders:
                out = _run([sys.executable, "-m", "benchmarks.data_clips", str(folders[name]), *settings])
            else:
                out = peer.run(name, "read", str(table), *settings)
            own.append(json.loads(out.splitlines()[-1]))
    return {
        name: {key: statistics.median(run[key] for run in own) for key in ("clips", "first_batch_s")}
        | {"bytes": _bytes(folders.get(name, table)) / (EPISODES[size] * 51)}
        for name, own in runs.items()
    }


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    # Decoding is shared among the workers, not among threads.
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    return subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    read(sys.argv[1], *map(int, sys.argv[2:]))
