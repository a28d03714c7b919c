"""KoLeo: how evenly latents are spread over the sphere."""

import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm import distributed
from jepa_wm.precision import at_least_float32


def koleo(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Mean of minus the logarithm of each row's distance to its nearest neighbour, on the unit sphere.

    Args:
        x: latents (n, D), two at least over all ranks; neighbours are looked for on all of them.
        eps: keeps the logarithm of duplicates finite.

    Source: Sablayrolles et al. 2019 (arXiv 1806.03198), as in DINOv2 and v3 (official code). Theirs looks on one
    device by default, so that its value depends on how a batch is shared out.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = at_least_float32(x)
        x = F.normalize(x, eps=eps, dim=-1)
        everyone = distributed.all_gather(x)
        with torch.no_grad():
            cosine = x @ everyone.T
            own = torch.arange(len(x), device=x.device)
            cosine[own, own + distributed.rank() * len(x)] = -1.0
            nearest = cosine.argmax(dim=1)
        return -torch.log(F.pairwise_distance(x, everyone[nearest], eps=eps) + eps).mean()
