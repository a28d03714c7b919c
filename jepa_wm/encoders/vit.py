"""One vision transformer for images and clips."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Encoder
from jepa_wm.encoders.blocks import BlockOptions, Blocks, initialise
from jepa_wm.encoders.pooling import MeanPool, Pooling
from jepa_wm.encoders.positions import Grid, Positions, SinCos, places
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.stem import ConvStem
from jepa_wm.errors import UserError


class Encoded(NamedTuple):
    """What an encoder makes of pixels.

    Attributes:
        prefix: tokens of no place (B, R, D): that of the class first, then registers.
        patches: tokens of the grid, or of those that were kept (B, N or K, D).
        levels: patches after earlier blocks, each (B, N or K, D), where the encoder has levels.
    """

    prefix: Tensor
    patches: Tensor
    levels: tuple[Tensor, ...]


def check_vit(encoder: object, objective: str) -> None:
    """Refuse an encoder whose tokens an objective cannot take apart.

    Raises:
        UserError: if it is no `ViT`, nor does what `ViT.encode` does.
    """
    if not hasattr(encoder, "encode"):
        raise UserError(
            f"{objective}: got a {type(encoder).__name__} for the encoder; expected a ViT, which 'hf:' models, raw "
            "checkpoints and runs of this package become; LeJEPA and ContrastiveText take any"
        )


def is_image(pixels: Tensor) -> bool:
    """Whether pixels are images (B, C, H, W) or (B, 1, C, H, W) to an encoder; a clip of one tubelet is none."""
    return pixels.ndim == 4 or pixels.shape[1] == 1


class ViT(Encoder):
    """A pre-norm vision transformer over patches or tubelets.

    An image goes through the same weights as a clip: as one tubelet that repeats it, or, with `modalities`, through
    an embedding of its own. `keep` drops tokens before they are embedded, so masked pretraining pays for visible
    tokens alone; each sample may keep others.

    Args:
        patch: side of a patch in pixels.
        tubelet: frames a token spans.
        dim: width D of the tokens.
        depth: number of blocks.
        heads: attention heads of a block.
        block: what blocks of published models differ in.
        positions: where tokens stand.
        prefix: learned tokens before the patches: that of the class, registers.
        pooling: how one latent is made of the tokens.
        preprocessing: the colours and the size that it was made for.
        modalities: embed images by a kernel of their own, and add a learned vector for images and one for clips.
        levels: blocks, from 0, whose patches `encode` gives too, each under a layer norm of its own.
        stem: convolutions beside the linear embedding of the patches; none as published.

    Raises:
        UserError: if sizes do not fit each other, or convolutions are asked for with modalities.

    Source: Dosovitskiy et al. 2021 (arXiv 2010.11929); registers (arXiv 2309.16588); modalities and levels as V-JEPA
    2.1 (arXiv 2603.14482). The patch embedding is a linear layer on gathered patches where the references convolve
    the whole picture and drop most of it.
    """

    mean: Tensor
    std: Tensor
    source: str = "random weights"

    def __init__(
        self,
        patch: int = 16,
        tubelet: int = 1,
        dim: int = 192,
        depth: int = 4,
        heads: int = 3,
        block: BlockOptions | None = None,
        positions: Positions | None = None,
        prefix: int = 0,
        pooling: Pooling | None = None,
        preprocessing: Preprocessing | None = None,
        modalities: bool = False,
        levels: tuple[int, ...] = (),
        stem: ConvStem | None = None,
    ) -> None:
        super().__init__()
        self.patch, self.tubelet, self.dim, self.depth, self.heads = patch, tubelet, dim, depth, heads
        self.block, self.positions = block or BlockOptions(), positions or SinCos()
        self.pooling = pooling or MeanPool()
        self.prefix, self.modalities, self.levels, self.stem = prefix, modalities, tuple(levels), stem
        self._check()
        self.latent_dim = self.pooling.latent_dim(dim)
        self.embed = nn.Linear(3 * tubelet * patch * patch, dim)
        self.image_embed = nn.Linear(3 * patch * patch, dim) if modalities else None
        self.modality = nn.Parameter(torch.zeros(2, dim)) if modalities else None
        self.convolutions = None if stem is None else stem.build(3 * tubelet, patch, dim)
        table = self.positions.initial(dim)
        self.position_table = None if table is None else nn.Parameter(table)
        self.prefix_tokens = nn.Parameter(torch.randn(prefix, dim) * 0.02) if prefix else None
        self.blocks = Blocks(dim, depth, heads, self.block)
        self.norm = nn.LayerNorm(dim, eps=self.block.eps)
        self.level_norms = nn.ModuleList(nn.LayerNorm(dim, eps=self.block.eps) for _ in self.levels)
        self.pool = self.pooling.build(dim, prefix)
        for embed in filter(None, (self.embed, self.image_embed)):
            initialise(embed, self.block.init_std)
        self.expect(preprocessing or Preprocessing())

    def expect(self, preprocessing: Preprocessing) -> None:
        """Take pictures of these colours and this size from now on."""
        self.preprocessing: Preprocessing = preprocessing
        for name, colours in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            self.register_buffer(name, torch.tensor(colours)[:, None], persistent=False)

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode pixels, uint8 (B, T, C, H, W) or (B, C, H, W), to tokens (B, N or K, D).

        Args:
            pixels: images or clips.
            keep: indices (B, K) of the tokens to encode, in the order time, height, width.

        Raises:
            UserError: if the pixels' type or size does not fit the patches.
        """
        return self.encode(pixels, keep).patches

    def encode(self, pixels: Tensor, keep: Tensor | None = None) -> Encoded:
        """As `forward`, with prefix tokens and levels."""
        return self.transform(self.embedded(pixels, keep), self.grid_of(pixels), keep)

    def pooled(self, pixels: Tensor) -> Tensor:
        """Pixels, images or clips, -> one latent each (B, latent_dim)."""
        encoded = self.encode(pixels)
        return self.pool(encoded.prefix, encoded.patches, self.grid_of(pixels))

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Tokens in time, height and width of a clip of `frames` frames of `height` x `width` pixels."""
        return max(frames // self.tubelet, 1), height // self.patch, width // self.patch

    def embedded(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """The first half of `encode`: patches embedded, without positions (B, N or K, D)."""
        image = is_image(pixels)
        clips = pixels[:, None] if pixels.ndim == 4 else pixels
        embed = self.image_embed if image and self.image_embed is not None else self.embed
        if image and embed is self.embed:
            clips = clips.expand(-1, self.tubelet, -1, -1, -1)
        patches = self._patchify(clips, 1 if embed is self.image_embed else self.tubelet)
        if keep is not None:
            patches = patches.gather(1, keep[..., None].expand(-1, -1, patches.shape[-1]))
        colours = patches.to(embed.weight.dtype).unflatten(-1, (3, -1))
        patches = colours.div_(255.0).sub_(self.mean).div_(self.std).flatten(-2)
        tokens = embed(patches)
        if self.convolutions is not None:
            tokens = tokens + self.convolutions(patches, self.grid_of(pixels), keep)
        return tokens if self.modality is None else tokens + self.modality[0 if image else 1]

    def transform(self, tokens: Tensor, grid: Grid, keep: Tensor | None = None) -> Encoded:
        """The second half of `encode`: embedded patches (B, N or K, D) of a grid through the blocks."""
        table, rotation = places(self.positions, grid, self.dim, self.heads, tokens.device)
        if self.position_table is not None:
            table = self.positions.table(self.position_table, grid)
        if table is not None:
            tokens = tokens + (table if keep is None else table[keep]).to(self.norm.weight.dtype)
        if rotation is not None:
            rotation = (rotation if keep is None else rotation.take(keep)).after(self.prefix)
        if self.prefix_tokens is not None:
            tokens = torch.cat([self.prefix_tokens.to(tokens.dtype).expand(tokens.shape[0], -1, -1), tokens], dim=1)
        *found, last = self.blocks(tokens, rotation, self.levels)
        last = self.norm(last)
        levels = (norm(level[:, self.prefix :]) for norm, level in zip(self.level_norms, found, strict=True))
        return Encoded(last[:, : self.prefix], last[:, self.prefix :], tuple(levels))

    def _patchify(self, clips: Tensor, tubelet: int) -> Tensor:
        """Clips (B, T, C, H, W) -> patches (B, N, C * tubelet * patch * patch), a view made flat."""
        batch, frames, channels, height, width = clips.shape
        p = self.patch
        if clips.dtype != torch.uint8 or height % p or width % p or frames % tubelet or channels != 3:
            raise UserError(
                f"ViT: got pixels {clips.dtype} {tuple(clips.shape)}; expected uint8 (B, T, 3, H, W) with H and W "
                f"multiples of the patch {p} and T of the tubelet {tubelet}"
            )
        blocks = clips.reshape(batch, frames // tubelet, tubelet, channels, height // p, p, width // p, p)
        return blocks.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(batch, -1, channels * tubelet * p * p)

    def _check(self) -> None:
        """Refuse sizes that do not fit each other."""
        if self.dim % self.heads:
            raise UserError(f"ViT: got dim {self.dim} and {self.heads} heads; expected heads that divide dim")
        if self.stem is not None and self.modalities:
            raise UserError("ViT.stem: convolutions know one kind of patch; expected modalities: false, or no stem")
        if any(not 0 <= level < self.depth for level in self.levels):
            raise UserError(f"ViT.levels: got {self.levels}; expected blocks from 0 to {self.depth - 1}")
