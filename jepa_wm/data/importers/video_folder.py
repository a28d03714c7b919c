"""A folder of videos."""

import json
from pathlib import Path

from jepa_wm.data.importers.base import Importer, Item
from jepa_wm.data.video import EXTENSIONS, Video
from jepa_wm.errors import UserError

OTHERS = (".mov", ".avi", ".mkv")


class VideoFolder(Importer):
    """Videos below `folder`, mp4 or webm, kept byte for byte; `<name>.txt` beside one is its caption.

    If they lie in folders, the first folder's name is the class: `cls` is its number among the sorted names.
    `json` says the path, the class, and the frames, height, width and frames a second.

    Args:
        folder: the folder.

    Raises:
        UserError: if it holds no mp4 or webm.
    """

    kind = "videos"

    def __init__(self, folder: str) -> None:
        self.folder = folder
        root = Path(folder)
        suffixes = {f".{extension}" for extension in EXTENSIONS}
        self._paths = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.suffix.lower() in suffixes)
        if not self._paths:
            others = [path.name for path in root.rglob("*") if path.suffix.lower() in OTHERS]
            hint = f"; {others[0]} and its like must be converted, by ffmpeg for example" if others else ""
            raise UserError(f"{folder} holds no {' or '.join(EXTENSIONS)} files{hint}")
        self._classes = sorted({Path(path).parts[0] for path in self._paths if len(Path(path).parts) > 1})

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Item:
        """See `Importer`."""
        path = Path(self.folder) / self._paths[index]
        data = path.read_bytes()
        try:
            video = Video(data)
            # A header may be whole where the rest is not.
            video.read([0])
        except ValueError as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        about = {"frames": video.frames, "height": video.height, "width": video.width, "fps": video.fps}
        members = {path.suffix.lower()[1:]: data}
        if path.with_suffix(".txt").is_file():
            members["txt"] = path.with_suffix(".txt").read_bytes().strip()
        if len(parts := Path(self._paths[index]).parts) > 1:
            members["cls"] = b"%d" % self._classes.index(parts[0])
            about["class"] = parts[0]  # type: ignore[assignment]
        members["json"] = json.dumps({**about, "path": self._paths[index]}).encode()
        return Item(f"{index:08d}", members)
