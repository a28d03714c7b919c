"""Sentences and latents in one space: a text tower from scratch, and the head that brings latents to it."""

from functools import lru_cache

import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32


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


class TextAlignment(nn.Module):
    """A text tower, and a head from latents into its space.

    Both sides come out with unit norm, so their dot product is the cosine of image and sentence.

    Args:
        latent_dim: width D of the latents.
        tower: sentences to vectors.
        hidden: width of the image head's hidden layer; 0 for a linear head, as CLIP's, None for no head, as SigLIP's.

    Raises:
        UserError: if there is to be no head, and latents are not as wide as the tower's vectors.

    Source: Radford et al. 2021 (arXiv 2103.00020). Here the head reads the latent that the world model predicts, so
    that an imagined future can be held against a sentence.
    """

    def __init__(self, latent_dim: int = 64, tower: TextTower | None = None, hidden: int | None = 256) -> None:
        super().__init__()
        self.latent_dim, self.hidden = latent_dim, hidden
        self.tower = tower or ClipText()
        self.head = _head(latent_dim, hidden, self.tower.dim)

    def text(self, sentences: list[str]) -> Tensor:
        """Sentences -> unit vectors (len(sentences), tower.dim)."""
        return F.normalize(at_least_float32(self.tower(sentences)), dim=-1)

    def image(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> unit vectors (..., tower.dim), the tokens of a frame averaged."""
        return F.normalize(at_least_float32(self.head(latents).mean(dim=-2)), dim=-1)

    def similarity(self, latents: Tensor, sentences: Tensor) -> Tensor:
        """Cosine of latents (..., N, D) with text vectors that broadcast to (..., tower.dim)."""
        return (self.image(latents) * sentences).sum(dim=-1)


def _head(latent_dim: int, hidden: int | None, dim: int) -> nn.Module:
    if hidden:
        return nn.Sequential(nn.Linear(latent_dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
    if hidden == 0:
        return nn.Linear(latent_dim, dim, bias=False)
    if latent_dim != dim:
        raise UserError(
            f"TextAlignment: got latents of width {latent_dim}, vectors of width {dim} and no head (hidden: null); "
            "expected the same width, or hidden: 0 for a linear head"
        )
    return nn.Identity()


@lru_cache(maxsize=4)
def _simple_tokenizer(context_length: int) -> SimpleTokenizer:
    return SimpleTokenizer(context_length=context_length)
