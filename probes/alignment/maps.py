"""Layer x layer maps of a metric, calibrated."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.alignment.calibrate import Calibrated, calibrate
from probes.alignment.grams import Grams
from probes.alignment.intervals import interval
from probes.alignment.named import Metric, metric_named
from probes.alignment.overlap import Overlaps
from probes.alignment.permute import orders
from probes.checks import check_rows

KERNELS = frozenset({"cka"})
"""Metrics that are the inner product of two kernels (n, n), where few enough rows let them prepare such."""

AllPairs = Callable[[Tensor | None], Tensor]
"""An order (n,) of the rows of y, None for the given one -> the values (Lx, Ly), float64."""


class LayerMap(NamedTuple):
    """A metric of each layer of x with each layer of y.

    Attributes:
        values: (Lx, Ly), float64, as are the next four.
        null, z, p, effect: of each pair, as in `Calibrated`; each p is corrected for all pairs.
        best: the pair of layers (i, j) with the largest effect.
        score: of that pair.
    """

    values: Tensor
    null: Tensor
    z: Tensor
    p: Tensor
    effect: Tensor
    best: tuple[int, int]
    score: Calibrated


def layer_map(
    metric: str,
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    permutations: int = 200,
    groups: Tensor | None = None,
    seed: int = 0,
    k: int | None = None,
) -> LayerMap:
    """Compare every layer of x with every layer of y, and all of that with chance.

    The null is of y's rows in random orders, each order the same for all pairs, so that the best pair of an order says
    what a search over layers finds by chance. Nothing is prepared or searched anew for an order.

    Args:
        metric: name of a file in probes/metrics.
        x, y: layers (n, d) of two models on the same n samples; widths may differ.
        permutations: the smallest p is 1 / (permutations + 1).
        groups: the episode of each row, integers (n,): whole episodes are permuted and left out (see `orders`).
        seed: of the permutations.
        k: neighbours, for metrics that have them; None for the metric's own default.

    Raises:
        UserError: layers differ in rows, hold NaN or are constant; fewer than 2 permutations; a metric that does not
            exist or is saturated; groups that cannot be exchanged.
    """
    named = metric_named(metric, k)
    if permutations < 2:
        raise UserError(f"permutations: got {permutations}, expected at least 2 (19 for p = .05), or use `score_map`")
    values_in = _all_pairs(named, x, y)
    values = values_in(None)
    draws = torch.stack([values_in(order) for order in orders(len(x[0]), permutations, groups, seed)])
    null, z, p, effect = calibrate(values, draws)
    best = divmod(int(effect.argmax()), len(y))
    at_best = [of_all[best].item() for of_all in (values, null, z, p, effect)]
    around = interval(named, x[best[0]], y[best[1]], groups)
    return LayerMap(values, null, z, p, effect, best, Calibrated(*at_best, around, len(x[0]), values.numel()))


def score_map(metric: str, x: Sequence[Tensor], y: Sequence[Tensor], k: int | None = None) -> Tensor:
    """The values alone of `layer_map`, (Lx, Ly), without their null.

    Raises:
        UserError: as in `layer_map`.
    """
    return _all_pairs(metric_named(metric, k), x, y)(None)


def _all_pairs(metric: Metric, x: Sequence[Tensor], y: Sequence[Tensor]) -> AllPairs:
    """What compares all pairs in any order of y, in the fastest way that there is for the metric."""
    _check_layers(x, y)
    of_x, of_y = ([metric.prepare(layer) for layer in layers] for layers in (x, y))
    if metric.name == "mutual_knn":
        return Overlaps(of_x, of_y)
    if metric.name in KERNELS and isinstance(of_x[0], Tensor):
        return Grams(of_x, of_y)

    def one_by_one(order: Tensor | None) -> Tensor:
        if order is None:
            rows = [[metric.compare(a, b) for b in of_y] for a in of_x]
        else:
            rows = [[metric.relabelled(a, b, order) for b in of_y] for a in of_x]
        return torch.tensor(rows, dtype=torch.float64)

    return one_by_one


def _check_layers(x: Sequence[Tensor], y: Sequence[Tensor]) -> None:
    """Ask for layers of the same rows, none of them constant."""
    if not len(x) or not len(y):
        raise UserError(f"layers: got {len(x)} of x and {len(y)} of y; expected at least one of each")
    for side, layers in (("x", x), ("y", y)):
        for index, layer in enumerate(layers):
            name = f"{side} layer {index}"
            check_rows(name, layer, least=8)
            if len(layer) != len(x[0]):
                raise UserError(
                    f"{name} has {len(layer)} rows and x layer 0 has {len(x[0])}; expected the same samples"
                )
            if (layer == layer[0]).all():
                raise UserError(f"{name} is the same in all {len(layer)} rows; leave it out, or check the checkpoint")
