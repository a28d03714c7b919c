"""The Hugging Face hub: folders of published models, and the optional library that its text encoders need."""

import math
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from jepa_wm.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from jepa_wm.errors import UserError
from jepa_wm.files import read_json

FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""Configs, weights and tokenizers; nothing that is pickled."""

INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""


def transformers() -> ModuleType:
    """The transformers library.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return import_module("transformers")
    except ImportError as error:
        raise UserError(f"this needs transformers: pip install 'jepa_wm[hf]' ({error})") from error


def hub_folder(name: str, files: list[str] | None = FILES) -> Path:
    """The folder of a model: one on this machine, or a copy of the one that the hub has under this name.

    Args:
        name: a path, or "owner/name".
        files: patterns of what is copied; None for all.

    Raises:
        UserError: if there is none, and it cannot be fetched.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (OSError, ValueError, HfHubHTTPError, RuntimeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"'{name}' is no folder here, and the Hugging Face hub did not give it ({reason[0]}); check the name, "
            f"fetch it where there is a network, and log in if its licence asks for that"
        ) from error


def preprocessing_of(folder: Path) -> Preprocessing | None:
    """What a folder's preprocessor config says; None where it has none.

    Raises:
        UserError: if it is broken.
    """
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        if (folder / name).is_file():
            return _preprocessing(read_json(folder / name))
    return None


def _preprocessing(config: dict[str, Any]) -> Preprocessing:
    # SigLIP 2's of any size say how many patches there may be; of a square picture they make a square of them.
    patches = math.isqrt(config.get("max_num_patches", 0)) * config.get("patch_size", 0)
    sides = _side(config.get("size") or patches or 224)
    cropped = _side(config["crop_size"]) if config.get("crop_size") and config.get("do_center_crop", True) else None
    squeezed = cropped is None and not (isinstance(config.get("size"), dict) and "shortest_edge" in config["size"])
    size = cropped or sides
    return Preprocessing(
        size,
        0.0 if squeezed else min(size / sides, 1.0),
        INTERPOLATIONS.get(config.get("resample", 2), "bicubic"),
        tuple(config.get("image_mean", IMAGENET_MEAN)),
        tuple(config.get("image_std", IMAGENET_STD)),
    )


def _side(size: Any) -> int:
    if isinstance(size, dict):
        return int(size.get("shortest_edge") or size.get("height") or 224)
    return int(size)
