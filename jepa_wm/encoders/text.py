"""Sentences and latents in one space: text towers, and the head that brings latents to them."""

import warnings
from difflib import get_close_matches
from functools import lru_cache
from pickle import UnpicklingError
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from jepa_wm.errors import UserError


class TextTower(nn.Module):
    """Sentences to vectors.

    Attributes:
        dim: width of the vectors.
    """

    dim: int

    def forward(self, sentences: list[str]) -> Tensor:
        """Sentences -> vectors (len(sentences), dim)."""
        raise NotImplementedError


class ClipText(TextTower):
    """CLIP's causal text transformer with its tokenizer, from scratch.

    Args:
        dim: width of what comes out.
        width: width of the transformer.
        layers: number of blocks.
        heads: attention heads.
        context_length: longest sentence in tokens; what is longer is cut.

    Source: Radford et al. 2021 (arXiv 2103.00020), tower and tokenizer by open_clip.
    """

    def __init__(
        self, dim: int = 64, width: int = 128, layers: int = 2, heads: int = 4, context_length: int = 24
    ) -> None:
        super().__init__()
        self.dim, self.width, self.layers, self.heads = dim, width, layers, heads
        self.context_length = context_length
        self.tower = TextTransformer(
            context_length=context_length,
            vocab_size=_simple_tokenizer(context_length).vocab_size,
            width=width,
            heads=heads,
            layers=layers,
            output_dim=dim,
        )

    def forward(self, sentences: list[str]) -> Tensor:
        tokens = _simple_tokenizer(self.context_length)(sentences)
        return self.tower(tokens.to(self.tower.positional_embedding.device))


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

    if name not in open_clip.list_models():
        close = get_close_matches(name, open_clip.list_models(), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else "; open_clip.list_models() names them all"
        raise UserError(f"open_clip knows no model '{name}'{hint}")
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


class HFText(TextTower):
    """Any text encoder of the Hugging Face hub, with its own tokenizer; without weights by itself.

    Args:
        name: of the model on the hub, or the folder that holds it, with its tokenizer.
        pool: "mean" of the tokens, "first" or "last" of them.

    Raises:
        UserError: if transformers is not installed, `pool` is unknown, or there is no such model.
    """

    def __init__(self, name: str, pool: str = "mean") -> None:
        super().__init__()
        from jepa_wm.encoders.hub import transformers

        if pool not in ("mean", "first", "last"):
            raise UserError(f"HFText.pool: got '{pool}'; expected 'mean', 'first' or 'last'")
        self.name, self.pool = name, pool
        library = transformers()
        try:
            config = library.AutoConfig.from_pretrained(name)
            self.tokenizer = library.AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise UserError(f"HFText: cannot read '{name}': {error}") from error
        model = library.AutoModel.from_config(getattr(config, "text_config", config))
        self._kind, self._config = type(model), model.config
        self.tower = _reader(model)
        self.dim = self._config.hidden_size

    def load_weights(self) -> None:
        """Take in the weights that were published under its name.

        Raises:
            UserError: if they cannot be read, or some are missing.
        """
        try:
            model, report = self._kind.from_pretrained(
                self.name, config=self._config, output_loading_info=True, use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"HFText: cannot read the weights of '{self.name}': {error}") from error
        missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
        if missing:
            raise UserError(f"HFText: '{self.name}' lacks {', '.join(missing[:5])}")
        self.tower.load_state_dict(_reader(model).state_dict())

    def forward(self, sentences: list[str]) -> Tensor:
        tokens = self.tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")
        tokens = tokens.to(next(self.tower.parameters()).device)
        states, mask = self.tower(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
        if self.pool == "mean":
            return (states * mask).sum(dim=1) / mask.sum(dim=1)
        if self.pool == "first":
            return states[:, 0]
        places = torch.arange(states.shape[1], device=states.device)[:, None] * mask
        return states[torch.arange(len(states)), places.amax(dim=(1, 2))]


def _reader(model: Any) -> nn.Module:
    """The half of a model that reads; of most it is the whole."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


class TextAlignment(nn.Module):
    """A text tower, and a head from latents into its space.

    Both sides come out with unit norm, so their dot product is the cosine of image and sentence.

    Args:
        latent_dim: width D of the latents.
        tower: sentences to vectors.
        hidden: width of the image head's hidden layer; 0 for a linear head, as CLIP's.

    Source: Radford et al. 2021 (arXiv 2103.00020). Here the head reads the latent that the world model predicts, so
    that an imagined future can be held against a sentence.
    """

    def __init__(self, latent_dim: int = 64, tower: TextTower | None = None, hidden: int = 256) -> None:
        super().__init__()
        self.latent_dim, self.hidden = latent_dim, hidden
        self.tower = tower or ClipText()
        self.head = (
            nn.Sequential(nn.Linear(latent_dim, hidden), nn.GELU(), nn.Linear(hidden, self.tower.dim))
            if hidden
            else nn.Linear(latent_dim, self.tower.dim, bias=False)
        )

    def text(self, sentences: list[str]) -> Tensor:
        """Sentences -> unit vectors (len(sentences), tower.dim)."""
        return F.normalize(self.tower(sentences).float(), dim=-1)

    def image(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> unit vectors (..., tower.dim), the tokens of a frame averaged."""
        return F.normalize(self.head(latents).mean(dim=-2).float(), dim=-1)

    def similarity(self, latents: Tensor, sentences: Tensor) -> Tensor:
        """Cosine of latents (..., N, D) with text vectors that broadcast to (..., tower.dim)."""
        return (self.image(latents) * sentences).sum(dim=-1)


@lru_cache(maxsize=4)
def _simple_tokenizer(context_length: int) -> SimpleTokenizer:
    return SimpleTokenizer(context_length=context_length)


@lru_cache(maxsize=4)
def _open_clip_tokenizer(name: str) -> Any:
    from open_clip import get_tokenizer

    try:
        return get_tokenizer(name)
    except (OSError, ValueError, ImportError, AssertionError) as error:
        raise UserError(f"open_clip's tokenizer of '{name}' needs transformers and the hub's files: {error}") from error
