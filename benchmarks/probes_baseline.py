"""What alignment and probes are measured against, as it is commonly written, so that it can be run.

Mutual kNN over layers searches neighbours anew for every pair, by sorting whole rows: written from the description of
platonic-rep's way (arXiv 2405.07987 and its repository). A linear head is trained alone, by torch's own parts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def neighbour_lists(x: Tensor, k: int) -> Tensor:
    """The k nearest rows (n, k) to each row of x (n, d) by inner product, from an n x n matrix and a full sort."""
    similarity = x @ x.T
    similarity.fill_diagonal_(-1e8)
    return similarity.argsort(dim=1, descending=True)[:, :k]


def mutual_knn_anew(x: Tensor, y: Tensor, k: int = 10) -> float:
    """The overlap of the neighbours of x (n, dx) and y (n, dy), by two n x n masks."""
    n = len(x)
    rows = torch.arange(n)[:, None]
    masks = []
    for features in (x, y):
        mask = torch.zeros(n, n)
        mask[rows, neighbour_lists(features, k)] = 1.0
        masks.append(mask)
    return ((masks[0] * masks[1]).sum(dim=1) / k).mean().item()


def layer_map_anew(x: Sequence[Tensor], y: Sequence[Tensor], k: int = 10) -> list[list[float]]:
    """Every layer (n, d) of one model with every layer of another."""
    unit_x, unit_y = ([F.normalize(layer, dim=1) for layer in layers] for layers in (x, y))
    return [[mutual_knn_anew(a, b, k) for b in unit_y] for a in unit_x]


def one_head(x: Tensor, labels: Tensor, classes: int, rate: float, steps: int, batch: int = 128) -> nn.Linear:
    """A linear classifier of features (n, d), integer labels (n,), by SGD at one learning rate of a batch of 256."""
    head = nn.Linear(x.shape[1], classes)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    optimiser = torch.optim.SGD(head.parameters(), lr=rate * batch / 256, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    order = torch.cat([torch.randperm(len(x)) for _ in range(-(-steps * batch // len(x)))])
    for rows in order[: steps * batch].view(steps, batch):
        loss = F.cross_entropy(head(x[rows]), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return head
