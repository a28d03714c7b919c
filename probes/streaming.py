"""CKA of more samples than fit in memory: sums over batches, which add over shards and over processes."""

from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.distributed import all_reduce_max, all_reduce_sum, rank
from jepa_wm.errors import UserError
from probes import jackknife
from probes.checks import check_pair

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


class StreamingCKA:
    """Unbiased linear CKA in one pass, in float64, with state of 60 products of features at 20 blocks.

    The rows of a process go to the blocks of the jackknife in turn, so many consecutive ones to each.
    Sums are taken around a mean of the first rows, since a large common mean would cancel digits.

    Args:
        dx, dy: widths of the two representations.
        blocks: of the jackknife.
        rows: consecutive rows that go to one block; at most n / blocks, for all blocks to be used.

    Source: the sums are of Song et al. (JMLR 2012, eq. 5) for linear kernels; see `probes.metrics.cka`.
    """

    def __init__(self, dx: int, dy: int, blocks: int = jackknife.BLOCKS, rows: int = 1024) -> None:
        if min(dx, dy, rows) < 1 or blocks < 2:
            raise UserError(
                f"StreamingCKA: got widths {dx} and {dy}, {blocks} blocks of {rows} rows; "
                "expected positive widths and rows, and at least 2 blocks"
            )
        self.rows = rows
        self.seen = 0
        self.origin = torch.zeros(dx, dtype=torch.float64), torch.zeros(dy, dtype=torch.float64)
        self.blocks = [(_zeros(dx, dy), _zeros(dx, dx), _zeros(dy, dy)) for _ in range(blocks)]

    @torch.no_grad()
    def add(self, x: Tensor, y: Tensor) -> None:
        """Add a batch of rows, x (n, dx) and y (n, dy); its size does not change the result.

        Raises:
            UserError: rows differ in number, widths are not those announced, or a value is not finite.
        """
        check_pair(x, y, least=1)
        self._check_widths(x.shape[1], y.shape[1])
        start = 0
        while start < len(x):
            stop = start + self.rows - self.seen % self.rows
            piece = x[start:stop].double(), y[start:stop].double()
            if self.seen == 0:
                self.origin = mean(piece[0]), mean(piece[1])
            block = self.blocks[self.seen // self.rows % len(self.blocks)]
            of_x, of_y = (part - origin for part, origin in zip(piece, self.origin, strict=True))
            _add(block, of_x, of_y)
            self.seen += len(of_x)
            start = stop

    def merge(self, other: "StreamingCKA") -> None:
        """Add what `other` has seen, block to block; `other` stays as it is.

        Raises:
            UserError: widths or numbers of blocks differ.
        """
        self._check_widths(*(len(origin) for origin in other.origin))
        if len(self.blocks) != len(other.blocks):
            raise UserError(f"merge: got {len(other.blocks)} blocks and {len(self.blocks)}; make both with as many")
        if self.seen == 0:
            self.origin = other.origin
        for mine, others in zip(self.blocks, other._around(self.origin).blocks, strict=True):
            for sums, further in zip(mine, others, strict=True):
                for total, part in zip(sums, further, strict=True):
                    total.add_(part)
        self.seen += other.seen

    def reduced(self) -> "StreamingCKA":
        """The sum over processes, on every one of them; all must call it, also one that has seen no rows."""
        last = all_reduce_max(torch.tensor(rank() if self.seen else -1))
        mine = 1.0 if last == rank() else 0.0
        total = self._around((all_reduce_sum(mine * self.origin[0]), all_reduce_sum(mine * self.origin[1])))
        total.seen = int(all_reduce_sum(torch.tensor(self.seen)))
        for block in total.blocks:
            for sums in block:
                for part in sums:
                    part.copy_(all_reduce_sum(part))
        return total

    def score(self) -> Score:
        """CKA of all that was added, its null 0 and its interval from a jackknife over the blocks.

        Raises:
            UserError: fewer than 8 rows, or fewer than 2 blocks, have been filled.
        """
        used = [block for block in self.blocks if block[0].n > 0]
        if self.seen < 8 or len(used) < 2:
            raise UserError(
                f"StreamingCKA: got {self.seen} rows in {len(used)} blocks of {self.rows} consecutive ones, expected "
                "at least 8 rows in 2 blocks; add more, or make it with fewer `rows`"
            )
        whole = used[0]
        for block in used[1:]:
            whole = plus(whole, block, 1)
        value = ratio(whole)
        # One at a time: all blocks' complements at once would double the memory.
        refits = [ratio(plus(whole, block, -1)) for block in used]
        return Score(value, 0.0, jackknife.interval(value, refits), self.seen)

    def _around(self, origin: tuple[Tensor, Tensor]) -> "StreamingCKA":
        """A copy whose sums are those around another origin, (dx,) and (dy,)."""
        dx, dy = origin[0] - self.origin[0], origin[1] - self.origin[1]
        copy = StreamingCKA(len(dx), len(dy), len(self.blocks), self.rows)
        copy.seen, copy.origin = self.seen, origin
        copy.blocks = [
            (_moved(shared, dx, dy), _moved(_mirrored(of_x), dx, dx), _moved(_mirrored(of_y), dy, dy))
            for shared, of_x, of_y in self.blocks
        ]
        return copy

    def _check_widths(self, dx: int, dy: int) -> None:
        expected = tuple(len(origin) for origin in self.origin)
        if (dx, dy) != expected:
            raise UserError(f"StreamingCKA: got features of widths {(dx, dy)}, expected {expected} in every batch")


Block = tuple[Sums, Sums, Sums]
"""The sums of (x, y), (x, x) and (y, y)."""


def mean(x: Tensor) -> Tensor:
    """The mean (d,) of rows x (n, d), exact where a column is constant."""
    return x[0] + (x - x[0]).mean(dim=0)


def block_of(x: Tensor, y: Tensor) -> Block:
    """The sums of a block of float64 rows, x (n, dx) and y (n, dy)."""
    block = _zeros(x.shape[1], y.shape[1]), _zeros(x.shape[1], x.shape[1]), _zeros(y.shape[1], y.shape[1])
    _add(block, x, y)
    return block


def sums_of(x: Tensor, y: Tensor) -> Sums:
    """The sums of float64 x (n, dx) and y (n, dy)."""
    sums = _zeros(x.shape[1], y.shape[1])
    _accumulate(sums, x, y)
    return _mirrored(sums) if x is y else sums


def hsic(sums: Sums) -> Tensor:
    """Unbiased HSIC () of the kernels xx' and yy' with their diagonals removed."""
    n, x, y, xy, xb, ya, a, b, ab = sums
    trace = xy.square().sum() - ab
    total = (x @ x - a) * (y @ y - b)
    rows = x @ xy @ y - x @ xb - y @ ya + ab
    return (trace + total / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))


def ratio(block: Block) -> float:
    """CKA from the sums of a block; 0 where a representation does not vary."""
    shared, of_x, of_y = hsic(block[0]), hsic(_mirrored(block[1])), hsic(_mirrored(block[2]))
    return (shared / of_x.sqrt() / of_y.sqrt()).item() if of_x > 0 and of_y > 0 else 0.0


def _zeros(dx: int, dy: int) -> Sums:
    shapes = (), (dx,), (dy,), (dx, dy), (dx,), (dy,), (), (), ()
    return Sums(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))


def _add(block: Block, x: Tensor, y: Tensor) -> None:
    for sums, pair in zip(block, ((x, y), (x, x), (y, y)), strict=True):
        _accumulate(sums, *pair)


def _accumulate(sums: Sums, x: Tensor, y: Tensor) -> None:
    a, b = x.square().sum(dim=1), y.square().sum(dim=1)
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


def _mirrored(sums: Sums) -> Sums:
    """The sums of (x, x) with the upper triangle of x'x from the lower one."""
    lower = sums.xy.tril()
    return sums._replace(xy=lower + lower.tril(-1).T)


def _moved(sums: Sums, p: Tensor, q: Tensor) -> Sums:
    """The sums of x - p and y - q, from those of x and y: p (dx,), q (dy,)."""
    n, x, y, xy, xb, ya, a, b, ab = sums
    pp, qq = p @ p, q @ q
    b_moved = b - 2 * q @ y + n * qq
    a_moved = a - 2 * p @ x + n * pp
    # Sums of x times the squared norms of y - q, and the other way round.
    xb_moved = xb - 2 * xy @ q + qq * x
    ya_moved = ya - 2 * p @ xy + pp * y
    ab_moved = ab - 2 * q @ ya + qq * a - 2 * p @ xb_moved + pp * b_moved
    return Sums(
        n.clone(),
        x - n * p,
        y - n * q,
        xy - torch.outer(x, q) - torch.outer(p, y) + n * torch.outer(p, q),
        xb_moved - p * b_moved,
        ya_moved - q * a_moved,
        a_moved,
        b_moved,
        ab_moved,
    )


def plus(whole: Block, block: Block, sign: int) -> Block:
    """The sums of `whole`, with those of `block` added (sign 1) or taken away (-1)."""
    one, two, three = (
        Sums(*(total + sign * part for total, part in zip(*pair, strict=True)))
        for pair in zip(whole, block, strict=True)
    )
    return one, two, three
