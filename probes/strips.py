"""Imagined futures as rows of pictures."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from jepa_wm.dynamics.heads import PixelHead
from jepa_wm.world_model import WorldModel

GUTTER = 2
SCALE = 2


def nearest(queries: Tensor, gallery: Tensor) -> Tensor:
    """Index (m,) of the row of gallery (n, D) nearest to each query (m, D), by Euclidean distance."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatL2(gallery.shape[1])
    index.add(gallery.contiguous().numpy())
    return torch.from_numpy(index.search(queries.contiguous().numpy(), 1)[1][:, 0])


@torch.no_grad()
def decoded(model: WorldModel, latents: Tensor, size: tuple[int, ...]) -> dict[str, Tensor]:
    """What each `PixelHead` of a model draws of latents (E, T, N, D): uint8 (E, T, 3, *size), by name and `_head`."""
    films = {}
    for name, head in model.heads.items():
        if isinstance(head, PixelHead):
            pictures = head(latents.to(model.device)).cpu().mul(255).round().byte()
            fitted = F.interpolate(pictures.flatten(0, 1), size, mode="nearest-exact")
            films[f"{name}_head"] = fitted.unflatten(0, latents.shape[:2])
    return films


def compare(*films: Tensor) -> Image.Image:
    """Films (E, T, C, H, W) as rows, those of an episode one below the other, white gutters, pixels doubled."""
    episodes, steps, channels, height, width = films[0].shape
    canvas = torch.full((episodes, len(films), steps, channels, height + GUTTER, width + GUTTER), 255).byte()
    canvas[..., :height, :width] = torch.stack(films, dim=1)
    rows = episodes * len(films) * (height + GUTTER)
    sheet = canvas.flatten(0, 1).permute(0, 3, 1, 4, 2).reshape(rows, steps * (width + GUTTER), channels)
    picture = Image.fromarray(sheet[:-GUTTER, :-GUTTER].numpy())
    return picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.NEAREST)
