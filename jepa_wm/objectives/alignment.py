"""Alignment to another encoder: what would the teacher say?"""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.contracts import Batch, Encoder, Objective
from jepa_wm.encoders.blocks import initialise
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.vit import ViT, check_vit
from jepa_wm.errors import UserError
from jepa_wm.precision import at_least_float32


class TeacherAlignment(Objective):
    """Predict a frozen encoder's patches and latent, so as to keep its space while learning something else.

    The loss is .9 times one minus the cosine, plus .1 times the smooth L1 error, to the teacher's patches, brought to
    the student's grid, and to its pooled latent; both sides through a head of the student's, to targets normalised
    without affine. Of a clip one frame is used, another at each step.

    Args:
        encoder: the student.
        teacher: the encoder to stay close to, `jepa_wm.encoders.load_encoder` for one; never trained, not exported.
        patches: weight of the patches' loss.
        pooled: weight of the latents' loss.
        resize: squeeze what the teacher sees into the size it was made for; nothing is cut off, so that its patches
            and the student's stand for the same places.

    Raises:
        UserError: if the encoder is no `ViT`, both weights are 0, or pictures are to be resized for a
            teacher that does not say to what size.

    Source: AM-RADIO (arXiv 2312.06709), whose loss on patches this is; targets normalised as in I-JEPA.
    """

    def __init__(
        self, encoder: ViT, teacher: Encoder, patches: float = 1.0, pooled: float = 1.0, resize: bool = False
    ) -> None:
        super().__init__()
        check_vit(encoder, "TeacherAlignment")
        if not patches and not pooled:
            raise UserError("TeacherAlignment: got weights patches 0 and pooled 0; expected one above 0")
        self.encoder, self.patches, self.pooled, self.resize = encoder, patches, pooled, resize
        self.teacher = teacher.requires_grad_(False)
        self.shown = _uncropped(teacher.preprocessing) if resize else None
        self.patch_head = _head(encoder.dim, teacher.dim)
        self.pooled_head = _head(encoder.latent_dim, teacher.latent_dim)

    def frozen(self) -> list[nn.Module]:
        """The teacher."""
        return [self.teacher]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss, its parts, and the cosine of predicted with true latents."""
        pixels = batch["pixels"]
        pixels = pixels if pixels.ndim == 4 else pixels[:, batch["step"] % pixels.shape[1]]
        with torch.no_grad():
            shown = pixels if self.shown is None else self.shown(pixels)
            tokens, latents = self.teacher(shown), self.teacher.pooled(shown)
            tokens = regrid(tokens, self.teacher.grid(1, *shown.shape[-2:]), self.encoder.grid_of(pixels))
        encoded = self.encoder.encode(pixels)
        latent = self.encoder.pool(encoded.prefix, encoded.patches, self.encoder.grid_of(pixels))
        patch_loss, _ = _distance(self.patch_head(encoded.patches), tokens)
        pooled_loss, cosine = _distance(self.pooled_head(latent), latents)
        loss = self.patches * patch_loss + self.pooled * pooled_loss
        return {"loss": loss, "patches": patch_loss, "pooled": pooled_loss, "cosine": cosine}

    def exported(self) -> dict[str, nn.Module]:
        """The encoder."""
        return {"encoder": self.encoder}


def _uncropped(wanted: Callable[[Tensor], Tensor]) -> Preprocessing:
    """A preprocessing of the whole picture."""
    if not isinstance(wanted, Preprocessing):
        raise UserError(
            "TeacherAlignment.resize: got a teacher that does not say what size it was made for; expected resize "
            "false, and pictures of its size"
        )
    whole = copy.copy(wanted)
    whole.crop = 0.0
    return whole


def regrid(tokens: Tensor, old: tuple[int, int, int], new: tuple[int, int, int]) -> Tensor:
    """Tokens (B, N, D) of one grid of an image, averaged or interpolated to another (B, M, D)."""
    if old == new:
        return tokens
    cells = at_least_float32(tokens).transpose(1, 2).unflatten(2, old[1:])
    return F.interpolate(cells, new[1:], mode="bilinear", antialias=True).flatten(2).transpose(1, 2)


def _head(dim: int, wanted: int) -> nn.Module:
    head = nn.Sequential(nn.Linear(dim, 2 * wanted), nn.GELU(), nn.Linear(2 * wanted, wanted))
    initialise(head)
    return head


def _distance(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of predictions (..., D), and their mean cosine with the targets."""
    target = F.layer_norm(at_least_float32(target), target.shape[-1:])
    cosine = F.cosine_similarity(at_least_float32(predicted), target, dim=-1).mean()
    return 0.9 * (1.0 - cosine) + 0.1 * F.smooth_l1_loss(at_least_float32(predicted), target), cosine
