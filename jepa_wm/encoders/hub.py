"""The Hugging Face hub and the optional library that its text encoders need."""

from importlib import import_module
from types import ModuleType

from jepa_wm.errors import UserError


def transformers() -> ModuleType:
    """The transformers library.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return import_module("transformers")
    except ImportError as error:
        raise UserError(f"this needs transformers: pip install 'jepa_wm[hf]' ({error})") from error
