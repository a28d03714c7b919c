"""HSIC of linear kernels from sums over samples, which add over blocks, shards and processes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from probes.resampling import interval, spans
from probes.subspaces import narrowed

PANEL = 256
"""Columns of a self-product made at once: only the panels on and below the diagonal are made."""


class Sums(NamedTuple):
    """All that HSIC(x, y) needs of x (n, dx) and y (n, dy), additive over samples.

    Attributes:
        n: samples ().
        x, y: sums of the rows, (dx,) and (dy,).
        xy: x'y (dx, dy); where x is y, only the panels on and below its diagonal are filled.
        xb, ya: x'b (dx,) and y'a (dy,), a and b being the squared norms of the rows of x and of y.
        a, b, ab: sums of a, of b and of their product ().
    """

    n: Tensor
    x: Tensor
    y: Tensor
    xy: Tensor
    xb: Tensor
    ya: Tensor
    a: Tensor
    b: Tensor
    ab: Tensor


Block = tuple[Sums, Sums, Sums]
"""The sums of (x, y), (x, x) and (y, y)."""


def block_of(x: Tensor, y: Tensor) -> Block:
    """The sums of a block of float64 rows, x (n, dx) and y (n, dy)."""
    block = zero_block(x.shape[1], y.shape[1])
    add(block, x, y)
    return block


def sums_of(x: Tensor, y: Tensor) -> Sums:
    """The sums of float64 x (n, dx) and y (n, dy)."""
    sums = _zeros(x.shape[1], y.shape[1])
    _accumulate(sums, x, y)
    return mirrored(sums) if x is y else sums


def hsic(sums: Sums) -> Tensor:
    """Unbiased HSIC () of the kernels xx' and yy' with their diagonals removed."""
    n, x, y, xy, xb, ya, a, b, ab = sums
    trace = xy.square().sum() - ab
    total = (x @ x - a) * (y @ y - b)
    rows = x @ xy @ y - x @ xb - y @ ya + ab
    return (trace + total / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))


def biased(sums: Sums) -> Tensor:
    """Biased HSIC (), times (n - 1)², of the kernels xx' and yy': the squared norm of their cross-covariance."""
    return (sums.xy - torch.outer(sums.x, sums.y) / sums.n).square().sum()


def ratio(block: Block, measure: Callable[[Sums], Tensor] = hsic) -> float:
    """CKA by `measure` from the sums of a block; 0 where a representation does not vary."""
    shared, of_x, of_y = measure(block[0]), measure(mirrored(block[1])), measure(mirrored(block[2]))
    return (shared / of_x.sqrt() / of_y.sqrt()).item() if of_x > 0 and of_y > 0 else 0.0


def jackknifed(x: Tensor, y: Tensor, measure: Callable[[Sums], Tensor]) -> tuple[float, tuple[float, float]]:
    """CKA by `measure` of centred float64 x (n, dx) and y (n, dy), and its interval."""
    x, y = narrowed(x), narrowed(y)
    whole = block_of(x, y)
    value = ratio(whole, measure)
    # The sums of a block are made a second time, which costs less than keeping those of all blocks.
    refits = [ratio(plus(whole, block_of(x[span], y[span]), -1), measure) for span in spans(len(x))]
    return value, interval(value, refits)


def zero_block(dx: int, dy: int) -> Block:
    """The sums of no rows."""
    return _zeros(dx, dy), _zeros(dx, dx), _zeros(dy, dy)


def _zeros(dx: int, dy: int) -> Sums:
    shapes = (), (dx,), (dy,), (dx, dy), (dx,), (dy,), (), (), ()
    return Sums(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))


def add(block: Block, x: Tensor, y: Tensor) -> None:
    """Add float64 rows, x (n, dx) and y (n, dy), to a block in place."""
    for sums, pair in zip(block, ((x, y), (x, x), (y, y)), strict=True):
        _accumulate(sums, *pair)


def _accumulate(sums: Sums, x: Tensor, y: Tensor) -> None:
    # Norms first: squares of all features would be one more copy of the rows.
    a, b = x.norm(dim=1).square(), y.norm(dim=1).square()
    sums.n.add_(len(x))
    for total, part in zip(sums[1:3], (x, y), strict=True):
        total.add_(part.sum(dim=0))
    sums.xb.add_(x.T @ b)
    sums.ya.add_(y.T @ a)
    for total, part in zip(sums[6:], (a.sum(), b.sum(), a @ b), strict=True):
        total.add_(part)
    if x is not y:
        sums.xy.addmm_(x.T, y)
        return
    for start in range(0, x.shape[1], PANEL):
        end = min(start + PANEL, x.shape[1])
        sums.xy[start:end, :end].addmm_(x[:, start:end].T, x[:, :end])


def mirrored(sums: Sums) -> Sums:
    """The sums of (x, x) with the upper triangle of x'x from the lower one."""
    lower = sums.xy.tril()
    return sums._replace(xy=lower + lower.tril(-1).T)


def moved(sums: Sums, p: Tensor, q: Tensor) -> Sums:
    """The sums of x - p and y - q, from those of x and y: p (dx,), q (dy,)."""
    n, x, y, xy, xb, ya, a, b, ab = sums
    pp, qq = p @ p, q @ q
    bmoved = b - 2 * q @ y + n * qq
    amoved = a - 2 * p @ x + n * pp
    # Sums of x times the squared norms of y - q, and the other way round.
    xbmoved = xb - 2 * xy @ q + qq * x
    yamoved = ya - 2 * p @ xy + pp * y
    abmoved = ab - 2 * q @ ya + qq * a - 2 * p @ xbmoved + pp * bmoved
    return Sums(
        n.clone(),
        x - n * p,
        y - n * q,
        xy - torch.outer(x, q) - torch.outer(p, y) + n * torch.outer(p, q),
        xbmoved - p * bmoved,
        yamoved - q * amoved,
        amoved,
        bmoved,
        abmoved,
    )


def plus(whole: Block, block: Block, sign: int) -> Block:
    """The sums of `whole`, with those of `block` added (sign 1) or taken away (-1)."""
    one, two, three = (
        Sums(*(total + sign * part for total, part in zip(*pair, strict=True)))
        for pair in zip(whole, block, strict=True)
    )
    return one, two, three
