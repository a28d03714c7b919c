"""Masked latent prediction: what is behind the mask?"""

import copy
import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm import distributed
from jepa_wm.contracts import Batch, Objective
from jepa_wm.data.masks import Mask, Masker, TubeMask
from jepa_wm.encoders.positions import Grid, coordinates
from jepa_wm.encoders.vit import ViT, check_vit, is_image
from jepa_wm.errors import UserError
from jepa_wm.objectives.predictor import MaskPredictor, PredictorOptions, at, levels_of, normalised
from jepa_wm.optim import ema_update
from jepa_wm.schedules import Linear, Schedule

ERRORS: dict[str, Callable[..., Tensor]] = {"l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}


class ImageSteps:
    """Learning from images beside clips (V-JEPA 2.1, where a share of the ranks has images).

    Args:
        share: of the steps, in which one frame of each clip is taken, as an image; 0 where the data has images.
        masks: those of images; None for those of clips.
        context: weight of the error on their visible tokens over training; None for that of clips.

    Raises:
        UserError: if `share` is none, or `masks` has none.
    """

    def __init__(self, share: float = 0.5, masks: list[Masker] | None = None, context: Schedule | None = None) -> None:
        if not 0.0 <= share <= 1.0:
            raise UserError(f"ImageSteps.share: got {share}; expected a share between 0 and 1")
        if masks == []:
            raise UserError("ImageSteps.masks: got none; expected one at least, or null for those of clips")
        self.share, self.masks, self.context = share, masks, context


class MaskedLatentPrediction(Objective):
    """Predict a teacher's latents of hidden tokens from the visible ones, in images and in clips.

    The teacher is a moving average of the encoder; its tokens, normalised without affine, are the target. The loss
    is the mean error over the hidden tokens, averaged over the masks.

    Args:
        encoder: the student.
        masks: the masks that each image or clip is seen through, one after the other.
        predictor: the predictor's size.
        decay: the teacher's, over training.
        error: "l1" (V-JEPA) or "smooth_l1" (I-JEPA), elementwise.
        context: weight of the error on visible tokens over training, each divided by the square root of its distance
            to the nearest hidden one (V-JEPA 2.1); None leaves it out.
        images: how images are learned from, where clips are, too; an encoder with `modalities` learns its embedding
            of images by it.

    Raises:
        UserError: if the encoder is no `ViT`, `error` is neither, there are no masks, or visible tokens of images are
            given a weight and those of clips none.

    Source: I-JEPA (arXiv 2301.08243), V-JEPA (arXiv 2404.08471), V-JEPA 2 (arXiv 2506.09985), 2.1 (arXiv 2603.14482)
    and their codes. With an encoder that has `levels`, all of them are predicted, as in 2.1. Here every mask keeps a
    fixed number of tokens (see `jepa_wm.data.masks`).
    """

    def __init__(
        self,
        encoder: ViT,
        masks: list[Masker] | None = None,
        predictor: PredictorOptions | None = None,
        decay: Schedule | None = None,
        error: Literal["l1", "smooth_l1"] = "l1",
        context: Schedule | None = None,
        images: ImageSteps | None = None,
    ) -> None:
        super().__init__()
        check_vit(encoder, "MaskedLatentPrediction")
        if error not in ERRORS:
            raise UserError(f"MaskedLatentPrediction.error: got '{error}'; expected one of {', '.join(ERRORS)}")
        self.masks: list[Masker] = [TubeMask(8, 0.15), TubeMask(2, 0.7)] if masks is None else masks
        if not self.masks:
            raise UserError("MaskedLatentPrediction.masks: got none; expected one at least")
        self.images = images or ImageSteps(share=0.0)
        if context is None and self.images.context is not None:
            raise UserError(
                "MaskedLatentPrediction.images: got a weight of visible tokens; expected `context` for clips"
            )
        self.encoder, self.error, self.context = encoder, ERRORS[error], context
        self.decay = decay or Linear(0.996, 1.0)
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)
        self.predictor = MaskPredictor(encoder, predictor or PredictorOptions(), context is not None)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss, and the spread of the target (0 when the teacher has collapsed)."""
        pixels = self._seen(batch["pixels"], batch["step"])
        with torch.no_grad():
            targets = normalised(levels_of(self.teacher, pixels), self.encoder.dim)
        images = self.images if is_image(pixels) else ImageSteps()
        drawn = draw_masks(images.masks or self.masks, self.encoder, pixels, batch["step"])
        errors = [self._errors(pixels, targets, mask) for mask in drawn]
        hidden, visible = (torch.stack(kind).mean() for kind in zip(*errors, strict=True))
        terms = {"loss": hidden, "target_spread": spread(targets)}
        if context := images.context or self.context:
            terms |= {"loss": hidden + context(batch["progress"]) * visible, "hidden": hidden, "visible": visible}
        return terms

    def _seen(self, pixels: Tensor, step: int) -> Tensor:
        """The pixels, or a frame of each clip where it is the images' turn."""
        before, after = (math.floor(count * self.images.share) for count in (step, step + 1))
        return pixels[:, before % pixels.shape[1]] if after > before and pixels.ndim == 5 else pixels

    def _errors(self, pixels: Tensor, targets: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Errors of hidden and, weighted by distance, of visible tokens under one mask; targets (B, N, L * D)."""
        grid = self.encoder.grid_of(pixels)
        seen = levels_of(self.encoder, pixels, mask.keep)
        filled, context = self.predictor(seen, mask.keep, mask.predict, grid, is_image(pixels))
        error = self.error(filled.to(targets.dtype), at(targets, mask.predict))
        if context is None:
            return error, torch.zeros_like(error)
        away = distances(mask, grid).to(targets.dtype).sqrt()
        apart = self.error(
            context.to(targets.dtype), at(targets, mask.keep)[:, None].expand_as(context), reduction="none"
        )
        return error, (apart / away[..., None]).mean()

    def frozen(self) -> list[nn.Module]:
        """The teacher."""
        return [self.teacher]

    def after_step(self, progress: float) -> None:
        """Move the teacher towards the encoder."""
        ema_update(self.teacher, self.encoder, self.decay(progress))

    def exported(self) -> dict[str, nn.Module]:
        """The encoder and its moving average."""
        return {"encoder": self.encoder, "teacher": self.teacher}


def draw_masks(maskers: list[Masker], encoder: ViT, pixels: Tensor, step: int) -> list[Mask]:
    """This rank's masks of a batch: those of the whole batch over all ranks are drawn, from the step's number."""
    generator = torch.Generator().manual_seed(step)
    size, rank = len(pixels), distributed.rank()
    masks = []
    for masker in maskers:
        mask = masker.sample(encoder.grid_of(pixels), size * distributed.world_size(), generator)
        masks.append(Mask(*(part[rank * size : (rank + 1) * size].to(pixels.device) for part in mask)))
    return masks


def spread(tokens: Tensor) -> Tensor:
    """Standard deviation of tokens (B, N, D), averaged over channels; `Tensor.std` takes ten times as long."""
    return (tokens - tokens.mean(dim=(0, 1))).square().mean(dim=(0, 1)).sqrt().mean()


def distances(mask: Mask, grid: Grid) -> Tensor:
    """Distance in tokens of each visible token to the nearest hidden one of each group (B, G, K)."""
    place = coordinates(grid).float().to(mask.keep.device)
    apart = torch.cdist(place[mask.keep][:, None], place[mask.predict])
    return apart.min(dim=-1).values
