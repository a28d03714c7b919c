"""Text towers of open_clip."""

import warnings
from difflib import get_close_matches
from functools import lru_cache
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from jepa_wm.encoders.text import TextTower
from jepa_wm.errors import UserError


class OpenClipText(TextTower):
    """The text tower of any model that open_clip knows, with its own tokenizer; without weights by itself.

    Args:
        name: as open_clip calls the model, "ViT-B-16-SigLIP2" for one.
        tag: of the weights that it is for; decides which GELU.

    Raises:
        UserError: if open_clip knows no such model.
    """

    def __init__(self, name: str, tag: str = "") -> None:
        super().__init__()
        self.name, self.tag = name, tag
        model = open_clip_model(name, tag)
        self.tower = model.text
        self.dim: int = self.tower.output_dim
        self.context_length: int = self.tower.context_length

    def forward(self, sentences: list[str]) -> Tensor:
        tokens = _open_clip_tokenizer(self.name)(sentences, context_length=self.context_length)
        return self.tower(tokens.to(next(self.tower.parameters()).device))


def check_name(name: str) -> None:
    """Refuse a model that open_clip does not know."""
    import open_clip

    if name not in open_clip.list_models():
        close = get_close_matches(name, open_clip.list_models(), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "; open_clip.list_models() names them all"
        raise UserError(f"open_clip knows no model '{name}'{hint}")


def open_clip_model(name: str, tag: str = "", weights: str = "") -> Any:
    """A model that open_clip knows: its towers are `visual` and `text`.

    Args:
        name: as open_clip calls it.
        tag: of the weights that it is for: they decide its GELU, of which open_clip itself only warns, and the colours
            of its preprocessing.
        weights: a tag or a file; "" for random weights.

    Raises:
        UserError: if open_clip knows no such model, or does not give its weights.
    """
    import open_clip

    check_name(name)
    config = open_clip.get_pretrained_cfg(name, tag) if tag else {}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "QuickGELU mismatch")
            return open_clip.create_model(
                name,
                device=torch.get_default_device(),
                pretrained=weights or None,
                pretrained_text=False,
                force_custom_text=True,
                force_preprocess_cfg=config,
                **({"quick_gelu": config.get("quick_gelu", False)} if tag else {}),
            )
    except (OSError, RuntimeError, ValueError, UnpicklingError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"open_clip did not give '{name}'{f' with {weights!r}' if weights else ''} ({reason[0]}); fetch it where "
            f"there is a network, or give a file: 'open_clip:{name}@FILE'"
        ) from error


@lru_cache(maxsize=4)
def _open_clip_tokenizer(name: str) -> Any:
    from open_clip import get_tokenizer

    try:
        return get_tokenizer(name)
    except (OSError, ValueError, ImportError, AssertionError) as error:
        raise UserError(f"open_clip's tokenizer of '{name}' needs transformers and the hub's files: {error}") from error
