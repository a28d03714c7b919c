"""What calibration says of models that share nothing: its p-values must be uniform."""

import torch
from torch import Tensor

from probes.alignment.maps import layer_map


def p_of_unrelated(
    metric: str,
    layers: tuple[int, int] = (25, 33),
    n: int = 128,
    runs: int = 200,
    permutations: int = 99,
    seed: int = 0,
) -> Tensor:
    """The smallest corrected p of each of `runs` maps of two models that share nothing: (runs,), float64.

    The layers of a model are alike, as those of real models are: noisy maps of one hidden state to 16 dimensions. A
    share of at most .05 below .05 says that the search over layers is paid for.

    Args:
        metric: name of a file in probes/metrics.
        layers: of the two models.
        n: rows.
        runs: pairs of models.
        permutations: p is a multiple of 1 / (permutations + 1).
        seed: of the models; the permutations of each run have their own.
    """
    generator = torch.Generator().manual_seed(seed)
    smallest = []
    for run in range(runs):
        x, y = (_model(count, n, generator) for count in layers)
        smallest.append(layer_map(metric, x, y, permutations, seed=1000 * (seed + 1) + run).p.min())
    return torch.stack(smallest)


def distance_to_uniform(p: Tensor) -> float:
    """Kolmogorov-Smirnov distance of p (n,) to the uniform on (0, 1]; by chance above 1.63 / sqrt(n) in 1 % of draws.

    p-values by permutation are multiples of 1 / (permutations + 1), which may add as much to the distance.
    """
    p = p.double().sort().values
    steps = torch.arange(len(p) + 1, dtype=torch.float64) / len(p)
    return torch.maximum(steps[1:] - p, p - steps[:-1]).max().item()


def _model(layers: int, n: int, generator: torch.Generator) -> list[Tensor]:
    hidden = torch.randn(n, 4, generator=generator)
    mixes = torch.randn(layers, 4, 16, generator=generator)
    return [hidden @ mix + 0.5 * torch.randn(n, 16, generator=generator) for mix in mixes]
