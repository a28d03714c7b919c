"""A folder of videos."""

import json
from pathlib import Path
from typing import Any

from jepa_wm.data.importers.base import Importer, Item
from jepa_wm.data.importers.files import Files, read_text
from jepa_wm.data.importers.table import read_csv
from jepa_wm.data.video import EXTENSIONS, Video
from jepa_wm.errors import UserError

OTHERS = (".mov", ".avi", ".mkv")


class VideoFolder(Importer):
    """Videos below `folder`, mp4 or webm, kept byte for byte.

    A caption is in `<name>.txt` beside the video, or in `captions.csv` in the folder, with columns `video`, a path
    below the folder, and `caption`. If videos lie in folders, the first folder's name is the class: `cls` is its
    number among the sorted names. `json` says the path, the class, and the frames, height, width and frames a second.
    Videos of other forms are not read, but counted, so that they are listed and not lost.

    Args:
        folder: the folder.

    Raises:
        UserError: if it holds no videos, or captions.csv none of their names.
    """

    kind = "videos"

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._files = Files(folder, [*(f".{extension}" for extension in EXTENSIONS), *OTHERS])
        if not self._files.paths:
            raise UserError(f"{folder} holds no {' or '.join(EXTENSIONS)} files; expected some, in it or below")
        self._captions = _captions(Path(folder) / "captions.csv", self._files.paths)

    def __len__(self) -> int:
        return len(self._files.paths)

    def __getitem__(self, index: int) -> Item:
        """See `Importer`."""
        path = Path(self.folder) / self._files.paths[index]
        if path.suffix.lower() in OTHERS:
            raise UserError(f"{path} is neither {' nor '.join(EXTENSIONS)}; convert it, by ffmpeg for example")
        data = self._files.read(index)
        label, about = self._files.label(index)
        members = {path.suffix.lower()[1:]: data, **label}
        if path.with_suffix(".txt").is_file():
            members["txt"] = read_text(path.with_suffix(".txt")).strip().encode()
        elif caption := self._captions.get(self._files.paths[index]):
            members["txt"] = caption.encode()
        return Item(f"{index:08d}", {**members, "json": json.dumps(_facts(data, path) | about).encode()})


def _facts(data: bytes, path: Path) -> dict[str, Any]:
    try:
        video = Video(data)
        # A header may be whole where the rest is not: a file that was cut off shows at its end.
        video.read(sorted({0, video.frames - 1}))
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return {"frames": video.frames, "height": video.height, "width": video.width, "fps": video.fps}


def _captions(path: Path, videos: list[str]) -> dict[str, str]:
    if not path.is_file():
        return {}
    columns, rows = read_csv(str(path))
    if missing := {"video", "caption"} - set(columns):
        raise UserError(f"{path} has no column {sorted(missing)}; it has {columns}")
    at = columns.index("video"), columns.index("caption")
    captions = {row[at[0]]: row[at[1]] for row in rows if len(row) > max(at)}
    if not captions.keys() & set(videos):
        raise UserError(f"{path} names none of the videos; expected paths such as {videos[0]} in its column 'video'")
    return captions
