"""Masked latent prediction: what is behind the mask?"""

import copy

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from jepa_wm import distributed
from jepa_wm.contracts import Batch, Objective
from jepa_wm.data.masks import TubeMask
from jepa_wm.encoders.positions import sincos_3d
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError
from jepa_wm.optim import ema_update
from jepa_wm.schedules import linear


class MaskPredictor(nn.Module):
    """A narrow transformer that fills mask tokens from the visible ones.

    Args:
        dim: width of the encoder's tokens.
        width: its own width.
        depth: its blocks.
        heads: their attention heads.
    """

    def __init__(self, dim: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.dim, self.width, self.depth, self.heads = dim, width, depth, heads
        self.enter = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))

    def forward(self, tokens: Tensor, keep: Tensor, predict: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Visible tokens (B, K, D) at `keep` (B, K) -> predictions (B, M, D) at `predict` (B, M)."""
        positions = sincos_3d(grid, self.width).to(tokens.device)
        visible = self.enter(tokens) + positions[keep]
        hidden = self.mask_token + positions[predict]
        filled = self.blocks(torch.cat([visible, hidden.to(visible.dtype)], dim=1))
        return self.leave(filled[:, keep.shape[1] :])


class MaskedLatentPrediction(Objective):
    """Predict the teacher's latents of hidden tubes from the visible tokens of a clip.

    The teacher is a moving average of the encoder; its tokens, normalised without affine, are the
    target; the loss is their mean absolute error over the hidden tokens, averaged over the masks.

    Args:
        encoder: the student.
        blocks: rectangles of each mask of a clip, one entry a mask.
        scales: area of a rectangle of each mask, as a fraction of the image.
        predictor_dim: width of the predictor.
        predictor_depth: its blocks.
        predictor_heads: their attention heads.
        decay: the teacher's decay at the start and at the end of training.

    Raises:
        UserError: if there are not as many blocks as scales.

    Source: V-JEPA (arXiv 2404.08471) and its code. Here every mask hides a fixed number of tokens
    (see TubeMask) and one mask token serves all masks, as in effect in the official code.
    """

    def __init__(
        self,
        encoder: ViT,
        blocks: tuple[int, ...] = (8, 2),
        scales: tuple[float, ...] = (0.15, 0.7),
        predictor_dim: int = 96,
        predictor_depth: int = 2,
        predictor_heads: int = 3,
        decay: tuple[float, float] = (0.99, 1.0),
    ) -> None:
        super().__init__()
        if len(blocks) != len(scales):
            raise UserError(
                f"MaskedLatentPrediction: got {len(blocks)} blocks and {len(scales)} scales; expected as many"
            )
        self.encoder, self.decay = encoder, decay
        self.masks = [TubeMask(count, scale) for count, scale in zip(blocks, scales, strict=True)]
        self.teacher = copy.deepcopy(encoder).requires_grad_(False).eval()
        self.predictor = MaskPredictor(encoder.dim, predictor_dim, predictor_depth, predictor_heads)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss, and the spread of the target (0 when the teacher has collapsed)."""
        pixels = batch["pixels"]
        grid = self.encoder.grid(pixels.shape[1], *pixels.shape[-2:])
        with torch.no_grad():
            tokens = self.teacher(pixels)
            targets = F.layer_norm(tokens.float(), tokens.shape[-1:])
        generator = torch.Generator().manual_seed(batch["step"] * distributed.world_size() + distributed.rank())
        losses = []
        for sampler in self.masks:
            mask = sampler.sample(grid, pixels.shape[0], generator)
            keep, predict = mask.keep.to(pixels.device), mask.predict.to(pixels.device)
            predicted = self.predictor(self.encoder(pixels, keep), keep, predict, grid)
            target = targets.gather(1, predict[..., None].expand(-1, -1, targets.shape[-1]))
            losses.append(F.l1_loss(predicted.float(), target))
        return {"loss": torch.stack(losses).mean(), "target_spread": targets.std(dim=(0, 1)).mean()}

    def after_step(self, progress: float) -> None:
        """Move the teacher towards the encoder."""
        ema_update(self.teacher, self.encoder, linear(progress, *self.decay))

    def exported(self) -> dict[str, nn.Module]:
        """The encoder and its moving average."""
        return {"encoder": self.encoder, "teacher": self.teacher}
