"""A folder of images by class."""

import json
from pathlib import Path

from jepa_wm.data.importers.base import Importer, Item
from jepa_wm.data.importers.pictures import SUFFIXES, image_member
from jepa_wm.errors import UserError


class ImageFolder(Importer):
    """Images below `folder`: `<class>/…/<name>.<jpg|png|webp|…>`; those not in a folder have no class.

    `cls` is the class's number among the sorted names, `json` says its name and the image's path. JPEG, PNG and
    WebP files are kept byte for byte, others that Pillow reads become PNG.

    Args:
        folder: the folder.

    Raises:
        UserError: if it holds no images.
    """

    kind = "images"

    def __init__(self, folder: str) -> None:
        self.folder = folder
        root = Path(folder)
        self._paths = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self._paths:
            raise UserError(
                f"{folder} holds no images; expected <class>/<name> with one of {', '.join(sorted(SUFFIXES))}"
            )
        self._classes = sorted({Path(path).parts[0] for path in self._paths if len(Path(path).parts) > 1})

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Item:
        """See `Importer`."""
        path = Path(self._paths[index])
        members = image_member((Path(self.folder) / path).read_bytes(), str(Path(self.folder) / path))
        about = {"path": str(path)}
        if len(path.parts) > 1:
            members["cls"] = b"%d" % self._classes.index(path.parts[0])
            about["class"] = path.parts[0]
        return Item(f"{index:08d}", {**members, "json": json.dumps(about).encode()})
