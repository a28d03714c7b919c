"""LeJEPA: the same thing, seen otherwise, with latents kept Gaussian."""

from typing import Literal

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Batch, Objective
from jepa_wm.data.transforms import MultiCrop
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError
from jepa_wm.losses.sigreg import SIGReg
from jepa_wm.objectives.heads import Projector
from jepa_wm.objectives.views import global_views, local_views
from jepa_wm.precision import at_least_float32


class LeJEPA(Objective):
    """Bring the projections of all views of a picture to their centre, and their distribution to a Gaussian.

    The loss is `weight` times SIGReg, per view over the batch, averaged over views, plus 1 - `weight` times the mean
    squared distance of the views to their centre. No teacher and no stopped gradient.

    Args:
        encoder: whose pooled latents are projected.
        transform: how views are cut from a picture or clip.
        weight: lambda.
        width: of the projections.
        hidden: width of the projector's hidden layers.
        slices: SIGReg's random directions.
        centre: "global" for the centre of the large views, "all" for that of all of them.

    Raises:
        UserError: if `centre` is neither.

    Source: LeJEPA (arXiv 2511.08544); the official minimal example has the centre of all its views, which are all
    large; the paper's text that of the global ones.
    """

    def __init__(
        self,
        encoder: ViT,
        transform: MultiCrop | None = None,
        weight: float = 0.02,
        width: int = 128,
        hidden: int = 2048,
        slices: int = 1024,
        centre: Literal["global", "all"] = "global",
    ) -> None:
        super().__init__()
        if centre not in ("global", "all"):
            raise UserError(f"LeJEPA.centre: got '{centre}'; expected 'global' or 'all'")
        self.encoder, self.weight, self.centre = encoder, weight, centre
        self.transform = transform or MultiCrop()
        self.projector = Projector(encoder.latent_dim, hidden, width)
        self.gaussianity = SIGReg(slices)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Batch -> loss, its two parts, and the spread of the latents."""
        large, small = global_views(batch, "LeJEPA"), local_views(batch)
        latents = [self.encoder.pooled(views.flatten(0, 1)) for views in (large, small) if views is not None]
        projected = self.projector(torch.cat(latents)).unflatten(0, (-1, large.shape[1]))
        projected = at_least_float32(projected)
        centre = projected[: len(large)] if self.centre == "global" else projected
        invariance = (centre.mean(dim=0) - projected).square().mean()
        gaussianity = self.gaussianity(projected, batch["step"])
        loss = self.weight * gaussianity + (1.0 - self.weight) * invariance
        spread = latents[0].detach().float().std(dim=0).mean()
        return {"loss": loss, "invariance": invariance, "sigreg": gaussianity, "spread": spread}

    def exported(self) -> dict[str, nn.Module]:
        """The encoder."""
        return {"encoder": self.encoder}
