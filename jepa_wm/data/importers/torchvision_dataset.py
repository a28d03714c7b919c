"""Any torchvision dataset of images."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import VisionDataset

from jepa_wm.data.importers.base import Importer, Item
from jepa_wm.data.importers.files import read_file
from jepa_wm.data.importers.pictures import SUFFIXES, image_member, png
from jepa_wm.errors import UserError


class TorchvisionDataset(Importer):
    """A map-style dataset whose samples are an image, or an image and a target.

    Images are stored as PNG; where the dataset lists its files (`samples` or `imgs`) and has no transform, these are
    kept as `ImageFolder` keeps them. An integer target becomes `cls`, a sentence `txt`, anything else goes into
    `json`. Some of torchvision's datasets unpickle the files they are made of: name only those whose files you trust.

    Args:
        dataset: the dataset, without a transform; on the command line its class and arguments, such as
            `--source.dataset torchvision.datasets.CIFAR10 --source.dataset.root data`.

    Attributes:
        about: what the dataset says of itself, so that it is told from others of its class.

    Raises:
        UserError: if it has no length.
    """

    kind = "images"

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        if not hasattr(dataset, "__len__"):
            raise UserError(f"{type(dataset).__name__} has no length; expected a map-style dataset")
        text = repr(dataset) if isinstance(dataset, VisionDataset) else f"{len(dataset)} samples"
        # Where a function is in memory changes from run to run.
        self.about = re.sub(r" at 0x\w+", "", text)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Item:
        """See `Importer`."""
        name = f"sample {index} of {type(self.dataset).__name__}"
        try:
            sample = self.dataset[index]
            image, target = (*sample, None)[:2] if isinstance(sample, tuple | list) else (sample, None)
            members = self._kept(index) or png(_picture(image))
            return Item(f"{index:08d}", members | _member(target))
        except UserError:
            raise
        # Whatever a dataset raises on a broken file, the others may be read.
        except Exception as error:
            raise UserError(f"{name} cannot be read: {error}") from error

    def _kept(self, index: int) -> dict[str, bytes]:
        """The member of the file of a sample, if the dataset lists it, and gives what is in it."""
        listed = getattr(self.dataset, "samples", None) or getattr(self.dataset, "imgs", None)
        if not isinstance(listed, list) or getattr(self.dataset, "transforms", None) is not None:
            return {}
        path = listed[index][0] if isinstance(listed[index], tuple) else None
        if not isinstance(path, str) or Path(path).suffix.lower() not in SUFFIXES:
            return {}
        return image_member(read_file(Path(path)), path)


def _picture(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    array = image.movedim(0, -1).numpy() if isinstance(image, Tensor) and image.ndim == 3 else np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ValueError(
            f"it is {array.dtype} {array.shape}; expected a picture, or uint8 (C, H, W) of 1, 3 or 4 channels: leave "
            "out transforms that make floats"
        )
    return Image.fromarray(array.squeeze(-1) if array.shape[2:] == (1,) else np.ascontiguousarray(array))


def _member(target: Any) -> dict[str, bytes]:
    plain = target.tolist() if isinstance(target, Tensor | np.ndarray | np.generic) else target
    if plain is None:
        return {}
    if isinstance(plain, int):
        return {"cls": b"%d" % plain}
    if isinstance(plain, str):
        return {"txt": plain.encode()}
    return {"json": json.dumps({"target": plain}, default=_plain, allow_nan=False).encode()}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"JSON has no {type(value).__name__}, which its target is: give the dataset a target_transform")
