"""What in the features themselves makes scores hard to believe."""

import torch
from torch import Tensor

from probes.checks import check_rows
from probes.health import participation_ratio
from probes.neighbours import neighbours

ROWS_A_DIMENSION = 10
TOP_SHARE = 0.5
HUB = 10
SKEW = 3.0
NARROW = 0.1
K_SHARE = 0.1
LEVEL = 0.05


def warnings_of(name: str, x: Tensor, k: int) -> list[str]:
    """One sentence for each thing that is wrong with a layer, with its numbers and what to do.

    Args:
        name: of the layer, as the reader knows it.
        x: features (n, d).
        k: neighbours that will be looked at.

    Raises:
        UserError: x holds NaN or infinity, or has too few rows for k.
    """
    rows = check_rows(name, x, least=2).detach().double()
    if (rows == rows[0]).all():
        return [f"{name}: all rows are the same; check the checkpoint"]
    return [
        f"{name}: {said}" for said in (*_of_shape(rows, k), *_of_variance(rows), *_of_copies(rows), *_of_hubs(x, k))
    ]


def warnings_of_search(pairs: int, permutations: int, comparisons: int = 1) -> list[str]:
    """What to know of the best of `pairs` pairs of layers, calibrated by so many permutations.

    Args:
        pairs: of layers, of which the best was taken.
        permutations: of each null.
        comparisons: pairs of models, whose p-values are corrected for each other by Holm.
    """
    said = []
    if pairs > 1:
        said.append(
            f"the best of up to {pairs} layer pairs was taken: its p is corrected for them, its value and interval are "
            "optimistic; quote the pair with its p, and its value on other samples"
        )
    lowest = min(1.0, comparisons / (permutations + 1))
    if lowest >= LEVEL:
        of_them = f" of {comparisons} pairs of models, by Holm," if comparisons > 1 else ""
        said.append(
            f"{permutations} permutations cannot give a p{of_them} below {lowest:.3g}, however alike they are; "
            f"use {max(200, round(2 * comparisons / LEVEL))} or more"
        )
    return said


def _of_shape(x: Tensor, k: int) -> list[str]:
    n, d = x.shape
    said = []
    if n < ROWS_A_DIMENSION * d:
        said.append(
            f"{n} rows for {d} dimensions are under {ROWS_A_DIMENSION} each: CCA, SVCCA, PWCCA and linear "
            f"predictivity are inflated; use {ROWS_A_DIMENSION * d} rows, or neighbour metrics and unbiased CKA"
        )
    if k > K_SHARE * n:
        said.append(
            f"k {k} is {k / n:.0%} of {n} rows, and chance alone agrees on {k / (n - 1):.0%}; lower k or add rows"
        )
    return said


def _of_variance(x: Tensor) -> list[str]:
    variance = x.var(dim=0)
    said = []
    d, top = x.shape[1], int(variance.argmax())
    share = (variance[top] / variance.sum()).item()
    if d > 2 and share > max(TOP_SHARE, 3 / d):
        said.append(
            f"dimension {top} holds {share:.0%} of the variance: every score is mostly about it; "
            "standardise or clip, and report both"
        )
    ratio = participation_ratio(x)
    if ratio < NARROW * d:
        said.append(
            f"participation ratio {ratio:.1f} of {d} dimensions: few directions decide CKA; "
            "look at neighbour metrics and at the spectrum too"
        )
    return said


def _of_copies(x: Tensor) -> list[str]:
    copies = len(x) - len(x.unique(dim=0))
    if copies:
        return [
            f"{copies} of {len(x)} rows are copies of others: their neighbours are tied, and copies are neighbours in "
            "every space; drop them in both representations"
        ]
    return []


def _of_hubs(x: Tensor, k: int) -> list[str]:
    lists = neighbours(x, k)
    degree = torch.bincount(lists.flatten(), minlength=len(x)).double()
    most = int(degree.max())
    skew = ((degree - k) ** 3).mean() / ((degree - k) ** 2).mean().clamp_min(1e-12) ** 1.5
    if most > HUB * k or skew > SKEW:
        return [
            f"a row is among the {k} nearest of {most} others (skew of the in-degree {skew:.1f}): hubs agree in any "
            "two spaces that have them; subtract the mean, and compare with the permuted null"
        ]
    return []
