"""How the frames of an episode are best stored: `python -m benchmarks.frames`.

Each codec of `jepa_wm.data.codecs`, and a JPEG in a member of its own for each frame: bytes, writing, reading of
clips, fidelity. Rewrites the section of docs/benchmarks.md; the last line is JSON.
"""

import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from benchmarks.tables import BENCHMARKS, machine, markdown, replace_section
from jepa_wm.control.two_rooms_player import TwoRoomsPlayer
from jepa_wm.envs.factors import FACTORS

EPISODES, FRAMES, SKIP, REPEATS, SECONDS = 64, 4, 5, 5, 0.4
SETTINGS = {
    "mjpeg": (80, 88, 95),
    "webp": (90,),
    "png": (6,),
    "mp4": (60, 76, 90),
}
WORLDS = {"plain": ("agent_color", "agent_size"), "varied": tuple(FACTORS)}


def main() -> None:
    """Measure each form at each size, write the tables and print the figures."""
    tables, figures = [], {}
    for size in (64, 224):
        for world, factors in WORLDS.items():
            episodes = play(size, factors)
            rows = {}
            for codec, qualities in SETTINGS.items():
                for quality in qualities:
                    rows[f"{codec}, quality {quality}"] = own = measure(codec, quality, episodes)
                    figures[f"{codec}{quality}_{size}_{world}"] = {name: round(value, 3) for name, value in own.items()}
            rows["a JPEG member a frame, quality 88"] = own = measure_members(episodes)
            figures[f"members_{size}_{world}"] = {name: round(value, 3) for name, value in own.items()}
            tables.append(markdown(f"{size} px, {world}", {name: shown(row) for name, row in rows.items()}))
    replace_section(BENCHMARKS, "frames", "\n\n".join([*tables, machine()]))
    print(json.dumps(figures))


def play(size: int, factors: tuple[str, ...]) -> list[np.ndarray]:
    """Frames of episodes: uint8 (51, size, size, 3) each."""
    player = TwoRoomsPlayer(size, 50, EPISODES, dict.fromkeys(factors, "sample"), 0.5)
    played = player.play([f"e{number}" for number in range(EPISODES)], [0])
    return [np.ascontiguousarray(episode.frames.transpose(0, 2, 3, 1)) for episode in played]


def measure(codec: str, quality: int, episodes: list[np.ndarray]) -> dict[str, float]:
    """Bytes a frame, frames written and clips read a second, and decibels, of one codec."""
    module = import_module(f"jepa_wm.data.codecs.{codec}")
    start = time.perf_counter()
    data = [module.encode(frames, quality) for frames in episodes]
    written = time.perf_counter() - start
    whole = np.empty_like(episodes[0])
    errors = []
    for frames, own in zip(episodes[:8], data, strict=False):
        module.decode(own, len(frames), range(len(frames)), whole)
        errors.append(np.square(whole.astype(np.float64) - frames).mean())

    def read(number: int, at: list[int], out: np.ndarray) -> None:
        module.decode(data[number], len(episodes[number]), at, out)

    return summary(sum(map(len, data)), written, episodes, errors, read)


def measure_members(episodes: list[np.ndarray]) -> dict[str, float]:
    """The same of a tar with a member for each frame, read by the offsets of an index."""
    mjpeg = import_module("jepa_wm.data.codecs.mjpeg")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "members.tar"
        start = time.perf_counter()
        with tarfile.open(path, "w") as tar:
            for number, frames in enumerate(episodes):
                for step, frame in enumerate(frames):
                    data = mjpeg.encode(frame[None])
                    info = tarfile.TarInfo(f"e{number}.{step}.jpg")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        written = time.perf_counter() - start
        with tarfile.open(path) as tar:
            spans = [(member.offset_data, member.size) for member in tar]
        file, length = os.open(path, os.O_RDONLY), len(episodes[0])

        def read(number: int, at: list[int], out: np.ndarray) -> None:
            for step, row in zip(at, out, strict=True):
                offset, size = spans[number * length + step]
                simplejpeg.decode_jpeg(os.pread(file, size, offset), "RGB", buffer=row)

        whole = np.empty_like(episodes[0])
        errors = []
        for number, frames in enumerate(episodes[:8]):
            read(number, list(range(length)), whole)
            errors.append(np.square(whole.astype(np.float64) - frames).mean())
        found = summary(path.stat().st_size, written, episodes, errors, read)
        os.close(file)
    return found


def summary(
    size: int,
    written: float,
    episodes: list[np.ndarray],
    errors: list[float],
    read: Callable[[int, list[int], np.ndarray], None],
) -> dict[str, float]:
    """The figures of one form; clips are read for a while, several times."""
    count, length = sum(map(len, episodes)), len(episodes[0])
    rng, out, rates = np.random.default_rng(0), np.empty_like(episodes[0][:FRAMES]), []
    for _ in range(REPEATS):
        start, clips = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            first = int(rng.integers(length - (FRAMES - 1) * SKIP))
            read(int(rng.integers(len(episodes))), list(range(first, first + FRAMES * SKIP, SKIP)), out)
            clips += 1
        rates.append(clips / (time.perf_counter() - start))
    error = float(np.mean(errors))
    return {
        "bytes": size / count,
        "written": count / written,
        "clips": statistics.median(rates),
        "psnr": 10 * float(np.log10(255**2 / error)) if error else 99.0,
    }


def shown(row: dict[str, float]) -> dict[str, Any]:
    """A row of the table."""
    return {
        "kB a frame": f"{row['bytes'] / 1000:.2f}",
        "frames written/s": f"{row['written']:,.0f}",
        "clips read/s": f"{row['clips']:,.0f}",
        "PSNR, dB": "exact" if row["psnr"] == 99.0 else f"{row['psnr']:.1f}",
    }


if __name__ == "__main__":
    main()
