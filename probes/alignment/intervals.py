"""Intervals that hold for metrics of neighbours and of similarities."""

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.alignment.named import Metric
from probes.alignment.overlap import mutual_knn_without
from probes.alignment.permute import blocks_of_rows

HALVES = 50


def interval(
    metric: Metric, x: Tensor, y: Tensor, groups: Tensor | None = None, method: str = "jackknife"
) -> tuple[float, float]:
    """The central 95 % of a metric of x (n, dx) and y (n, dy), by leaving rows out.

    It is of the value of this one pair. The best pair of a search is the best also because chance favoured it, so
    its interval is optimistic: too high, by about one standard error where many pairs are alike. Measure the chosen
    pair on other samples, or read its corrected p. Of mutual kNN, which is not smooth in the rows, it is 1.5 times as
    wide as it need be (n 400 to 1000, k 5 and 10); of CKA it is exact within a tenth.

    Args:
        metric: of `metric_named`.
        x, y: the same n samples.
        groups: the episode of each row, integers (n,); whole episodes are left out together.
        method: "jackknife" leaves out each of 20 blocks (Student's t, exact for means); "subsample" takes 50
            random halves, which needs no smoothness and suits rows of no order.

    Raises:
        UserError: the method is another, such as "bootstrap", or there are fewer than 4 groups.
    """
    if method == "jackknife":
        blocks = blocks_of_rows(len(x), groups)
        left_out = _without(metric, x, y, blocks)
        spread = (len(blocks) - 1) * left_out.var(correction=0)
        error = _student(len(blocks) - 1) * spread.sqrt().item()
    elif method == "subsample":
        units = blocks_of_rows(len(x), groups, most=len(x))
        generator = torch.Generator().manual_seed(0)
        picks = [torch.randperm(len(units), generator=generator)[: len(units) // 2].tolist() for _ in range(HALVES)]
        left_out = _without(metric, x, y, [torch.cat([units[unit] for unit in pick]) for pick in picks])
        error = 1.96 * left_out.std().item()
    else:
        raise UserError(
            f"interval: got method {method!r}, expected jackknife or subsample. A bootstrap draws rows twice, and "
            "copies of a row are each other's nearest neighbours in every space: of unrelated representations "
            "mutual kNN rises tenfold, from .0102 to .1088 (n 1024, k 10)"
        )
    value = metric.compare(metric.prepare(x), metric.prepare(y))
    return value - error, value + error


def _without(metric: Metric, x: Tensor, y: Tensor, blocks: list[Tensor]) -> Tensor:
    """The metric without each block of rows (m,): (blocks,)."""
    if metric.name == "mutual_knn" and metric.k is not None:
        return mutual_knn_without(x, y, metric.k, blocks)
    values = []
    for block in blocks:
        keep = torch.ones(len(x), dtype=torch.bool)
        keep[block] = False
        values.append(metric.compare(metric.prepare(x[keep]), metric.prepare(y[keep])))
    return torch.tensor(values, dtype=torch.float64)


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's t, to 1 % for 4 degrees of freedom or more (expansion about the normal's)."""
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
