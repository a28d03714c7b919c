"""Intervals that hold for metrics of neighbours and of similarities."""

from collections.abc import Sequence

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.statistics import student
from probes import kernels
from probes.alignment.named import KERNELS, LISTS, Metric, metric_named
from probes.alignment.permute import blocks_of_rows
from probes.lists import survivors
from probes.metrics import mutual_knn

SUBSAMPLES = 50


def interval(
    metric: Metric, x: Tensor, y: Tensor, groups: Tensor | None = None, method: str | None = None
) -> tuple[float, float]:
    """The central 95 % of a metric of x (n, dx) and y (n, dy): of its mean over samples of this n, at this k.

    It is of the value of this one pair. The best pair of a search is the best also because chance favoured it, so
    its interval is optimistic: too high, by about one standard error where many pairs are alike. Measure the chosen
    pair on other samples, or read its corrected p.

    Args:
        metric: of `metric_named`.
        x, y: the same n samples.
        groups: the episode of each row, integers (n,); whole episodes are left out together.
        method: "jackknife" leaves out each of 20 blocks (Student's t, exact for means); "subsample" leaves out 50
            random quarters, which needs no smoothness. None takes what is nearest to the spread of simulated samples:
            for mutual kNN `probes.metrics.mutual_knn.interval`, but the jackknife if there are groups; for other
            metrics of neighbours subsamples (1.1 to 1.9 times as wide as they should be, where the jackknife's are 1.4
            to 3.0); for the rest the jackknife (1.0 to 1.2, and 1.5 of unrelated models).

    Raises:
        UserError: the method is another, such as "bootstrap", or there are fewer than 4 groups.
    """
    if method is None and metric.name == "mutual_knn" and groups is None:
        return mutual_knn.interval(metric.prepare(x), metric.prepare(y))
    smooth = metric.k is None or metric.name == "mutual_knn"
    method = method or ("jackknife" if smooth else "subsample")
    if method == "jackknife":
        blocks = blocks_of_rows(len(x), groups)
        left_out = without(metric, x, y, blocks)
        spread = (len(blocks) - 1) * left_out.var(correction=0)
        error = student(len(blocks) - 1) * spread.sqrt().item()
    elif method == "subsample":
        units = blocks_of_rows(len(x), groups, most=len(x))
        generator = torch.Generator().manual_seed(0)
        count, quarter = len(units), len(units) // 4
        picks = [torch.randperm(count, generator=generator)[:quarter].tolist() for _ in range(SUBSAMPLES)]
        left_out = without(metric, x, y, [torch.cat([units[unit] for unit in pick]) for pick in picks])
        error = student(count - 1) * ((count - quarter) / quarter) ** 0.5 * left_out.std().item()
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
