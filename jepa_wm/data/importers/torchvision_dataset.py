"""Any torchvision dataset of images."""

import json
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from jepa_wm.data.importers.base import Importer, Item
from jepa_wm.data.importers.pictures import png
from jepa_wm.errors import UserError


class TorchvisionDataset(Importer):
    """A map-style dataset whose samples are an image and a target, stored as PNG.

    An integer target becomes `cls`, a sentence `txt`, anything else goes into `json`. Some of torchvision's
    datasets unpickle the files they are made of: name only those whose files you trust.

    Args:
        dataset: the dataset, without a transform; on the command line its class and arguments, such as
            `--source.dataset torchvision.datasets.CIFAR10 --source.dataset.root data`.
    """

    kind = "images"

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        if not hasattr(dataset, "__len__"):
            raise UserError(f"{type(dataset).__name__} has no length; expected a map-style dataset")

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Item:
        """See `Importer`."""
        name = f"sample {index} of {type(self.dataset).__name__}"
        try:
            image, *targets = self.dataset[index]
        # Whatever a dataset raises on a broken file, the others may be read.
        except Exception as error:
            raise UserError(f"{name} cannot be read: {error}") from error
        members = png(_picture(image, name).convert("RGB"))
        target = targets[0] if targets else None
        if isinstance(target, int | np.integer) or (isinstance(target, Tensor) and target.ndim == 0):
            members["cls"] = b"%d" % int(target)
        elif isinstance(target, str):
            members["txt"] = target.encode()
        elif target is not None:
            members["json"] = json.dumps({"target": target}, default=_plain).encode()
        return Item(f"{index:08d}", members)


def _picture(image: Any, name: str) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    array = image.numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.ndim == 3 and array.shape[0] in (1, 3) and isinstance(image, Tensor):
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise UserError(
            f"{name} is {array.dtype} {array.shape}; expected a picture, or uint8 (C, H, W): leave out transforms "
            "that make floats"
        )
    return Image.fromarray(array.squeeze(-1) if array.ndim == 3 and array.shape[2] == 1 else array)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor | np.ndarray | np.generic) else str(value)
