"""CKA of more samples than fit in memory: sums over batches, which add over shards and over processes."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.distributed import all_reduce_max, all_reduce_sum, rank
from jepa_wm.errors import UserError
from probes import resampling
from probes.centring import mean
from probes.checks import check_pair
from probes.hsic import add, mirrored, moved, plus, ratio, zero_block


class StreamingCKA:
    """Unbiased linear CKA in one pass, in float64, with state of 60 products of features at 20 blocks.

    The rows of a process go to the blocks of the jackknife in turn, so many consecutive ones to each.
    Sums are taken around a mean of the first rows, since a large common mean would cancel digits.

    Args:
        dx, dy: widths of the two representations.
        blocks: of the resampling.
        rows: consecutive rows that go to one block; at most n / blocks, for all blocks to be used.

    Source: the sums are of Song et al. (JMLR 2012, eq. 5) for linear kernels; see `probes.metrics.cka`.
    """

    def __init__(self, dx: int, dy: int, blocks: int = resampling.BLOCKS, rows: int = 1024) -> None:
        if min(dx, dy, rows) < 1 or blocks < 2:
            raise UserError(
                f"StreamingCKA: got widths {dx} and {dy}, {blocks} blocks of {rows} rows; "
                "expected positive widths and rows, and at least 2 blocks"
            )
        self.rows = rows
        self.seen = 0
        self.origin = torch.zeros(dx, dtype=torch.float64), torch.zeros(dy, dtype=torch.float64)
        self.blocks = [zero_block(dx, dy) for _ in range(blocks)]

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
            add(block, of_x, of_y)
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
        return Score(value, 0.0, resampling.interval(value, refits), self.seen)

    def _around(self, origin: tuple[Tensor, Tensor]) -> "StreamingCKA":
        """A copy whose sums are those around another origin, (dx,) and (dy,)."""
        dx, dy = origin[0] - self.origin[0], origin[1] - self.origin[1]
        copy = StreamingCKA(len(dx), len(dy), len(self.blocks), self.rows)
        copy.seen, copy.origin = self.seen, origin
        copy.blocks = [
            (moved(shared, dx, dy), moved(mirrored(of_x), dx, dx), moved(mirrored(of_y), dy, dy))
            for shared, of_x, of_y in self.blocks
        ]
        return copy

    def _check_widths(self, dx: int, dy: int) -> None:
        expected = tuple(len(origin) for origin in self.origin)
        if (dx, dy) != expected:
            raise UserError(f"StreamingCKA: got features of widths {(dx, dy)}, expected {expected} in every batch")
