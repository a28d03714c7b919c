"""A folder of images by class."""

import json

from jepa_wm.data.importers.base import Importer, Item
from jepa_wm.data.importers.files import Files
from jepa_wm.data.importers.pictures import SUFFIXES, image_member
from jepa_wm.errors import UserError


class ImageFolder(Importer):
    """Images below `folder`: `<class>/…/<name>.<jpg|png|webp|…>`; those not in a folder have no class.

    `cls` is the class's number among the sorted names, `json` says its name and the image's path. JPEG, PNG and
    WebP files are kept byte for byte, others that Pillow reads become PNG. Hidden files are left out.

    Args:
        folder: the folder.

    Raises:
        UserError: if it holds no images.
    """

    kind = "images"

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._files = Files(folder, SUFFIXES)
        if not self._files.paths:
            raise UserError(
                f"{folder} holds no images; expected <class>/<name> with one of {', '.join(sorted(SUFFIXES))}"
            )

    def __len__(self) -> int:
        return len(self._files.paths)

    def __getitem__(self, index: int) -> Item:
        """See `Importer`."""
        image = image_member(self._files.read(index), f"{self.folder}/{self._files.paths[index]}")
        label, about = self._files.label(index)
        return Item(f"{index:08d}", {**image, **label, "json": json.dumps(about).encode()})
