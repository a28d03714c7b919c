"""Masked latent prediction without a teacher: SIGReg keeps the latents from collapsing."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm import distributed
from jepa_wm.contracts import Batch, Objective
from jepa_wm.data.masks import Masker, TubeMask
from jepa_wm.encoders.vit import ViT, check_vit, is_image
from jepa_wm.errors import UserError
from jepa_wm.losses.sigreg import SIGReg
from jepa_wm.objectives.masked import draw_masks
from jepa_wm.objectives.predictor import MaskPredictor, PredictorOptions, at
from jepa_wm.precision import at_least_float32


class MaskedSIGReg(Objective):
    """Predict the encoder's own tokens of the whole picture from the visible ones, with SIGReg on the tokens.

    No moving average, and by default no stopped gradient: prediction and target move towards each other, and SIGReg
    keeps the tokens, each without the mean of its place over the batch, spread as a Gaussian: with it they could be
    one by saying where they are and nothing else. It is measured through a linear head, without a normalisation
    behind it, for on what a layer norm has put on a sphere it cannot be satisfied.

    Args:
        encoder: whose tokens are predicted.
        masks: the masks that each image or clip is seen through, one after the other.
        predictor: the predictor's size.
        weight: lambda: the loss is lambda times SIGReg, which grows with the number of tokens in the batch, plus 1 -
            lambda times the error.
        width: of the space that is predicted in.
        slices: SIGReg's random directions.
        detach: stop the gradient through the target.

    Raises:
        UserError: if the encoder is no `ViT`, or there are no masks.

    Source: I-JEPA (arXiv 2301.08243) with the teacher replaced by LeJEPA's SIGReg (arXiv 2511.08544), which nobody
    has published; the error is squared, as in LeJEPA and LeWM (arXiv 2603.19312).
    """

    def __init__(
        self,
        encoder: ViT,
        masks: list[Masker] | None = None,
        predictor: PredictorOptions | None = None,
        weight: float = 0.01,
        width: int = 32,
        slices: int = 256,
        detach: bool = False,
    ) -> None:
        super().__init__()
        check_vit(encoder, "MaskedSIGReg")
        self.encoder, self.weight, self.detach = encoder, weight, detach
        self.masks: list[Masker] = [TubeMask(8, 0.15)] if masks is None else masks
        if not self.masks:
            raise UserError("MaskedSIGReg.masks: got none; expected one at least")
        self.predictor = MaskPredictor(encoder, predictor or PredictorOptions())
        self.project = nn.Linear(encoder.dim, width)
        self.gaussianity = SIGReg(slices)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss and its two parts."""
        pixels = batch["pixels"]
        grid = self.encoder.grid_of(pixels)
        targets = self.project(self.encoder(pixels))
        targets = at_least_float32(targets)
        goal = targets.detach() if self.detach else targets
        errors = []
        for mask in draw_masks(self.masks, self.encoder, pixels, batch["step"]):
            seen = self.encoder(pixels, mask.keep)
            filled, _ = self.predictor(seen, mask.keep, mask.predict, grid, is_image(pixels))
            errors.append(F.mse_loss(self.project(filled).to(goal.dtype), at(goal, mask.predict)))
        error = torch.stack(errors).mean()
        moved = targets - distributed.all_reduce_mean(targets.mean(dim=0))
        gaussianity = self.gaussianity(moved.flatten(0, 1)[None], batch["step"])
        loss = self.weight * gaussianity + (1.0 - self.weight) * error
        return {"loss": loss, "error": error, "sigreg": gaussianity}

    def exported(self) -> dict[str, nn.Module]:
        """The encoder."""
        return {"encoder": self.encoder}
