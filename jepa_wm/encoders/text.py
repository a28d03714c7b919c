"""Sentences and latents in one space: a text tower and the head that brings latents to it."""

from functools import lru_cache

import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor, nn


class TextAlignment(nn.Module):
    """A CLIP text transformer with its tokenizer, and a head from latents into the shared space.

    Both sides come out with unit norm, so their dot product is the cosine of image and sentence.

    Args:
        latent_dim: width D of the latents.
        embed_dim: width of the shared space.
        width: width of the text transformer.
        layers: its number of blocks.
        heads: its attention heads.
        context_length: longest sentence in tokens; what is longer is cut.

    Source: Radford et al. 2021 (arXiv 2103.00020), tower and tokenizer by open_clip. Here the image
    head is an MLP and reads the latent that the world model predicts, so that an imagined future
    can be held against a sentence.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        embed_dim: int = 64,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        context_length: int = 24,
    ) -> None:
        super().__init__()
        self.latent_dim, self.embed_dim, self.width = latent_dim, embed_dim, width
        self.layers, self.heads, self.context_length = layers, heads, context_length
        tokenizer = _tokenizer(context_length)
        self.tower = TextTransformer(
            context_length=context_length,
            vocab_size=tokenizer.vocab_size,
            width=width,
            heads=heads,
            layers=layers,
            output_dim=embed_dim,
        )
        hidden = 4 * latent_dim
        self.head = nn.Sequential(nn.Linear(latent_dim, hidden), nn.GELU(), nn.Linear(hidden, embed_dim))

    def text(self, sentences: list[str]) -> Tensor:
        """Sentences -> unit vectors (len(sentences), embed_dim)."""
        tokens = _tokenizer(self.context_length)(sentences).to(self.head[0].weight.device)
        return F.normalize(self.tower(tokens).float(), dim=-1)

    def image(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> unit vectors (..., embed_dim), the tokens of a frame averaged."""
        return F.normalize(self.head(latents).mean(dim=-2).float(), dim=-1)

    def similarity(self, latents: Tensor, sentences: Tensor) -> Tensor:
        """Cosine of latents (..., N, D) with text vectors that broadcast to (..., embed_dim)."""
        return (self.image(latents) * sentences).sum(dim=-1)


@lru_cache(maxsize=4)
def _tokenizer(context_length: int) -> SimpleTokenizer:
    return SimpleTokenizer(context_length=context_length)
