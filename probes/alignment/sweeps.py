"""A metric over its neighbours k and over the number of samples n.

Mutual kNN falls with n at fixed k even where alignment stays as it is, since ever nearer rows must be told apart. So
both curves belong side by side, at fixed k and at fixed k / n, and a value means something only with its n and k.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.alignment.intervals import interval
from probes.alignment.named import metric_named
from probes.alignment.permute import orders
from probes.checks import check_pair

PERMUTATIONS = 50
"""Enough for a null's mean; p-values are the business of `layer_map`."""


def k_sweep(
    metric: str, x: Tensor, y: Tensor, ks: Sequence[int], groups: Tensor | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """A metric at each number of neighbours.

    Args:
        metric: name of a metric with neighbours.
        x, y: the same n samples, (n, dx) and (n, dy).
        ks: numbers of neighbours.
        groups: the episode of each row, integers (n,); permuted and left out whole.
        seed: of the permutations.

    Returns:
        A row for each k: {metric, k, n, value, null, effect, low, high}, low to high being its interval.

    Raises:
        UserError: the metric has no neighbours, or as in `layer_map`.
    """
    check_pair(x, y, least=8)
    rows = []
    for k in ks:
        value, null = _value_and_null(metric, x, y, k, groups, seed)
        low, high = interval(metric_named(metric, k), x, y, groups)
        rows.append(_row(metric, k, len(x), value, null, low, high))
    return rows


def n_sweep(
    metric: str,
    x: Tensor,
    y: Tensor,
    ns: Sequence[int],
    k: int | None = None,
    share: float | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A metric on random subsets of each size, rows drawn without replacement.

    Args:
        metric: name of a file in probes/metrics.
        x, y: the same samples, (n, dx) and (n, dy), whose rows are independent: of episodes, pass a frame each.
        ns: sizes of subsets, 8 to n.
        k: neighbours at every size; None for the metric's own default.
        share: neighbours in proportion to the size, k = share * size rounded, in place of k.
        repeats: subsets of each size.
        seed: of subsets and permutations.

    Returns:
        A row for each size: {metric, k, n, value, null, effect, low, high}: means over the subsets, and the lowest and
        highest value of a subset. Subsets overlap more the larger they are, so their spread says how much it matters
        which rows are taken; it is no interval.

    Raises:
        UserError: a size is outside 8 to n, k and share are both given, or the metric refuses.
    """
    check_pair(x, y, least=8)
    if k is not None and share is not None:
        raise UserError(f"n sweep: got k {k} and share {share}; expected one of them")
    outside = [n for n in ns if not 8 <= n <= len(x)]
    if outside:
        raise UserError(f"n sweep: got sizes {outside}, expected 8 to the number of rows, {len(x)}")
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for n in ns:
        of_size = k if share is None else max(1, round(share * n))
        subsets = [torch.randperm(len(x), generator=generator)[:n] for _ in range(repeats if n < len(x) else 1)]
        found = [_value_and_null(metric, x[rows_], y[rows_], of_size, None, seed) for rows_ in subsets]
        values, nulls = (torch.tensor(part, dtype=torch.float64) for part in zip(*found, strict=True))
        low, high = values.min().item(), values.max().item()
        used = metric_named(metric, of_size).k
        rows.append(_row(metric, used, n, values.mean().item(), nulls.mean().item(), low, high))
    return rows


def _value_and_null(
    metric: str, x: Tensor, y: Tensor, k: int | None, groups: Tensor | None, seed: int
) -> tuple[float, float]:
    """A metric's value, and its mean over permutations."""
    named = metric_named(metric, k)
    a, b = named.prepare(x), named.prepare(y)
    draws = [named.relabelled(a, b, order) for order in orders(len(x), PERMUTATIONS, groups, seed)]
    return named.compare(a, b), sum(draws) / len(draws)


def _row(metric: str, k: int | None, n: int, value: float, null: float, low: float, high: float) -> dict[str, Any]:
    effect = (value - null) / (1 - null)
    return {"metric": metric, "k": k, "n": n, "value": value, "null": null, "effect": effect, "low": low, "high": high}
