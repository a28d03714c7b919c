"""LeRobot's data sets: Parquet files of steps, and videos."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jepa_wm.data.episodes import Episode
from jepa_wm.data.images import decode_image
from jepa_wm.data.importers.base import Importer
from jepa_wm.data.importers.pictures import image_member
from jepa_wm.data.importers.steps import episode_of
from jepa_wm.data.video import Video
from jepa_wm.errors import UserError

VERSIONS = ("v2.0", "v2.1", "v3.0")


class LeRobot(Importer):
    """Episodes of a LeRobot folder, of format v2.0, v2.1 or v3.0, as one camera sees them.

    Row t of the actions is taken after frame t, so an episode's last is dropped. The task of each step is its
    caption, and `next.reward` its reward where there is one. How an episode ended is not told: `next.done` is true
    at its end whatever that was, and of the action that is dropped.

    Args:
        folder: the data set's folder, which holds `meta/info.json`.
        camera: feature of the frames; it may be left out where there is one camera only.
        state: features of the state, put side by side.

    Raises:
        UserError: if the folder is of another format, or has no such features.

    Source: the folders that lerobot 0.3.3 (v2.1) and 0.4.4 (v3.0) write.
    """

    kind = "episodes"

    def __init__(self, folder: str, camera: str | None = None, state: list[str] = ["observation.state"]) -> None:  # noqa: B006
        self.folder, self.camera, self.state = folder, camera, list(state)
        self._info = _json(Path(folder) / "meta/info.json")
        if self._info.get("codebase_version") not in VERSIONS:
            raise UserError(f"{folder} is of format {self._info.get('codebase_version')}; expected one of {VERSIONS}")
        features = self._info["features"]
        cameras = [name for name, feature in features.items() if feature["dtype"] in ("video", "image")]
        if camera is None and len(cameras) != 1:
            raise UserError(f"{folder} has cameras {cameras}; name one by camera")
        self._camera = camera or cameras[0]
        if missing := [name for name in (self._camera, "action", *self.state) if name not in features]:
            raise UserError(f"{folder} has no feature {missing}; it has {sorted(features)}")
        self._is_v3 = self._info["codebase_version"] == "v3.0"
        self._episodes = _episodes_v3(Path(folder)) if self._is_v3 else _episodes_v2(Path(folder))
        self._tasks = _tasks(Path(folder))

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, index: int) -> Episode:
        """See `Importer`."""
        record, where = self._episodes[index], f"episode {index} of {self.folder}"
        try:
            steps = self._steps(record)
            frames = self._frames(record, steps)
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise UserError(f"{where} cannot be read: {type(error).__name__}: {error}") from error
        parts = [np.array(steps[name].tolist(), np.float32).reshape(len(steps["action"]), -1) for name in self.state]
        return episode_of(
            where,
            f"episode-{record['episode_index']:06d}",
            frames,
            np.array(steps["action"].tolist(), np.float32),
            np.concatenate(parts, axis=1) if parts else None,
            np.array(steps["next.reward"].tolist(), np.float32) if "next.reward" in steps else None,
            [self._tasks.get(int(task), "") for task in steps["task_index"]],
        )

    def _path(self, template: str, record: dict[str, Any], file: str) -> Path:
        """The file of an episode: v2 names it by the episode, v3 by what the episode's record says."""
        if self._is_v3:
            numbers = {f"{part}_index": record[f"{file}/{part}_index"] for part in ("chunk", "file")}
        else:
            chunk = record["episode_index"] // self._info["chunks_size"]
            numbers = {"episode_chunk": chunk, "episode_index": record["episode_index"]}
        return Path(self.folder) / self._info[template].format(video_key=self._camera, **numbers)

    def _steps(self, record: dict[str, Any]) -> dict[str, np.ndarray]:
        table = _table(self._path("data_path", record, "data"))
        own = np.flatnonzero(table["episode_index"] == record["episode_index"])
        return {name: column[own] for name, column in table.items()}

    def _frames(self, record: dict[str, Any], steps: dict[str, np.ndarray]) -> np.ndarray:
        count = len(steps["action"])
        if self._info["features"][self._camera]["dtype"] == "image":
            pictures = [image_member(picture["bytes"], "its picture") for picture in steps[self._camera]]
            return np.stack([decode_image(picture) for picture in pictures])
        video = _video(self._path("video_path", record, f"videos/{self._camera}"))
        start = round(record.get(f"videos/{self._camera}/from_timestamp", 0.0) * self._info["fps"])
        return video.read(range(start, start + count))


def _episodes_v2(folder: Path) -> list[dict[str, Any]]:
    return _json_lines(folder / "meta/episodes.jsonl")


def _episodes_v3(folder: Path) -> list[dict[str, Any]]:
    records = []
    for path in sorted((folder / "meta/episodes").rglob("*.parquet")):
        table = _table(path, without="stats/")
        records += [
            dict(zip(table, row, strict=True)) for row in zip(*(c.tolist() for c in table.values()), strict=True)
        ]
    return records


def _tasks(folder: Path) -> dict[int, str]:
    if (folder / "meta/tasks.jsonl").is_file():
        return {row["task_index"]: row["task"] for row in _json_lines(folder / "meta/tasks.jsonl")}
    table = _table(folder / "meta/tasks.parquet")
    # The sentences are the index of a data frame.
    sentences = next(column for name, column in table.items() if name != "task_index")
    return dict(zip(table["task_index"].tolist(), sentences.tolist(), strict=True))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}; expected the folder of a LeRobot data set") from error


def _json_lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


@lru_cache(maxsize=2)
def _table(path: Path, without: str = " ") -> dict[str, np.ndarray]:
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = [name for name in file.schema_arrow.names if not name.startswith(without)]
        columns: dict[str, np.ndarray] = {}
        for name, column in zip(names, file.read(columns=names).columns, strict=True):
            columns[name] = np.empty(len(column), object)
            columns[name][:] = column.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return columns


@lru_cache(maxsize=1)
def _video(path: Path) -> Video:
    return Video(path.read_bytes())
