"""Intervals that hold for metrics of neighbours and of similarities."""

from collections.abc import Sequence

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.statistics import NORMAL, student
from probes import kernels
from probes.alignment.named import KERNELS, LISTS, Metric, metric_named
from probes.alignment.permute import blocks_of_rows
from probes.lists import survivors

HALVES = 50


def interval(
    metric: Metric, x: Tensor, y: Tensor, groups: Tensor | None = None, method: str = "jackknife"
) -> tuple[float, float]:
    """The central 95 % of a metric of x (n, dx) and y (n, dy), by leaving rows out.

    It is of the value of this one pair. The best pair of a search is the best also because chance favoured it, so
    its interval is optimistic: too high, by about one standard error where many pairs are alike. Measure the chosen
    pair on other samples, or read its corrected p. Of mutual kNN, which is not smooth in the rows, it is 1.5 times as
    wide as it need be (n 400 to 1000, k 5 and 10).

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
        left_out = without(metric, x, y, blocks)
        spread = (len(blocks) - 1) * left_out.var(correction=0)
        error = student(len(blocks) - 1) * spread.sqrt().item()
    elif method == "subsample":
        units = blocks_of_rows(len(x), groups, most=len(x))
        generator = torch.Generator().manual_seed(0)
        picks = [torch.randperm(len(units), generator=generator)[: len(units) // 2].tolist() for _ in range(HALVES)]
        left_out = without(metric, x, y, [torch.cat([units[unit] for unit in pick]) for pick in picks])
        error = NORMAL * left_out.std().item()
    else:
        raise UserError(
            f"interval: got method {method!r}, expected jackknife or subsample. A bootstrap draws rows twice, and "
            "copies of a row are each other's nearest neighbours in every space: of unrelated representations "
            "mutual kNN rises tenfold, from .0102 to .1088 (n 1024, k 10)"
        )
    value = metric.compare(metric.prepare(x), metric.prepare(y))
    return value - error, value + error


def without(metric: Metric, x: Tensor, y: Tensor, blocks: Sequence[Tensor]) -> Tensor:
    """The metric of x (n, dx) and y (n, dy) without each block of rows (m,): (blocks,), float64.

    Lists of neighbours are searched once: the k nearest that remain are among the k + m nearest. So are kernels: what
    centring takes from a part of a centred kernel is all that it would have taken from that part of the kernel.
    """
    kept = [torch.ones(len(x), dtype=torch.bool).index_fill(0, block, False) for block in blocks]
    if metric.name in LISTS and metric.k is not None:
        k = metric.k
        longest = metric_named(metric.name, min(k + max(map(len, blocks)), len(x) - 1))
        of_x, of_y = longest.prepare(x), longest.prepare(y)
        values = [metric.compare(survivors(of_x, rows, k)[0], survivors(of_y, rows, k)[0]) for rows in kept]
    elif metric.name in KERNELS and len(x) <= kernels.ROWS:
        centred = KERNELS[metric.name]
        of_x, of_y = metric.prepare(x), metric.prepare(y)
        parts = [[kernels.unit(centred(side[rows][:, rows])) for side in (of_x, of_y)] for rows in kept]
        values = [metric.compare(*part) for part in parts]
    else:
        values = [metric.compare(metric.prepare(x[rows]), metric.prepare(y[rows])) for rows in kept]
    return torch.tensor(values, dtype=torch.float64)
