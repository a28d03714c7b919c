"""In which order the samples of an epoch come: a function of seed and epoch alone."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from jepa_wm.data.randomness import generator
from jepa_wm.errors import UserError

PERIOD = 1000
"""Positions after which the shares of a mixture's sources are exact."""


class Order(Protocol):
    """Which samples come at which positions of an epoch."""

    def __len__(self) -> int:
        """Positions of an epoch."""
        ...

    def at(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """The samples at positions start … stop-1 of an epoch.

        Returns:
            int64 (stop - start, 3): the source, how often it has been through before, the sample's number in it.
        """
        ...


class Stored:
    """As they are stored, the same in every epoch.

    Args:
        samples: how many there are.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def at(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """See `Order.at`."""
        numbers = np.arange(start, stop)
        return np.stack([np.zeros_like(numbers), np.zeros_like(numbers), numbers], axis=1)


class Shuffled:
    """All shards in an order that changes with the epoch, and samples shuffled within windows of it.

    A window spans the ends of shards, so samples of several shards mix; and a reader needs few
    shards at once, so that remote ones can be fetched as they come. A window as large as the set
    shuffles it perfectly.

    Args:
        counts: samples in each shard.
        seed: seeds the order, together with the epoch.
        window: samples that are shuffled among each other.
    """

    def __init__(self, counts: Sequence[int], seed: int, window: int = 8192) -> None:
        self.counts, self.seed, self.window = np.asarray(counts, np.int64), seed, window
        self._first = np.cumsum(self.counts) - self.counts
        self._length = int(self.counts.sum())
        self._known: tuple[tuple[int, int], np.ndarray] | None = None

    def __len__(self) -> int:
        return self._length

    def at(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """See `Order.at`."""
        numbers = np.concatenate(
            [
                self._window(epoch, number)[max(start - first, 0) : stop - first]
                for number in range(start // self.window, -(-stop // self.window))
                for first in [number * self.window]
            ]
            or [np.zeros(0, np.int64)]
        )
        return np.stack([np.zeros_like(numbers), np.full_like(numbers, epoch), numbers], axis=1)

    def _window(self, epoch: int, number: int) -> np.ndarray:
        if self._known is None or self._known[0] != (epoch, number):
            self._known = (epoch, number), self._draw(epoch, number)
        return self._known[1]

    def _draw(self, epoch: int, number: int) -> np.ndarray:
        shards = generator("shards", self.seed, epoch).permutation(len(self.counts))
        ends = np.cumsum(self.counts[shards])
        start, stop = number * self.window, min((number + 1) * self.window, self._length)
        positions = np.arange(start, stop)
        place = np.searchsorted(ends, positions, side="right")
        numbers = self._first[shards[place]] + positions - (ends - self.counts[shards])[place]
        return generator("window", self.seed, epoch, number).permutation(numbers)


class Mixed:
    """Several orders by weight, each gone through again when it ends.

    Which source a position takes from is drawn so that every `PERIOD` positions hold the exact shares,
    rounded to one in a `PERIOD`. The mixture's own epochs only divide one endless sequence.

    Args:
        orders: of the sources.
        weights: their shares; they need not sum to 1.
        seed: seeds which source comes at which position.

    Raises:
        UserError: if there is not one weight for each order, or one of them is too small.
    """

    def __init__(self, orders: Sequence[Order], weights: Sequence[float], seed: int) -> None:
        if len(weights) != len(orders) or not min(weights, default=0) * PERIOD >= sum(weights) > 0:
            raise UserError(
                f"the weights of the mixture are {list(weights)}; expected {len(orders)} numbers, "
                f"each at least a {PERIOD}th of their sum"
            )
        self.orders, self.seed = list(orders), seed
        self.shares = _apportion(np.asarray(weights, np.float64), PERIOD)

    def __len__(self) -> int:
        return sum(map(len, self.orders))

    def at(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """See `Order.at`."""
        first = epoch * len(self)
        sources, counts = self._sources(first + start, first + stop)
        rows = np.empty((stop - start, 3), np.int64)
        for number, order in enumerate(self.orders):
            here = np.flatnonzero(sources == number)
            rows[here] = _cycled(order, int(counts[number]), len(here))
            rows[here, 0] = number
        return rows

    def drawn(self, epoch: int, position: int) -> np.ndarray:
        """How many samples each source has given before a position of an epoch: int64 (sources,)."""
        at = epoch * len(self) + position
        return self._sources(at, at)[1]

    def _sources(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The source at each position, and what each source has given before the first."""
        period, skip = divmod(start, PERIOD)
        sources = np.concatenate([self._period(number) for number in range(period, stop // PERIOD + 1)])
        counts = self.shares * period + np.bincount(sources[:skip], minlength=len(self.shares))
        return sources[skip : skip + stop - start], counts

    def _period(self, number: int) -> np.ndarray:
        return generator("mixture", self.seed, number).permutation(np.repeat(np.arange(len(self.shares)), self.shares))


def _cycled(order: Order, start: int, count: int) -> np.ndarray:
    rows = []
    while count:
        epoch, position = divmod(start, len(order))
        here = min(count, len(order) - position)
        rows.append(order.at(epoch, position, position + here))
        start, count = start + here, count - here
    return np.concatenate(rows) if rows else np.empty((0, 3), np.int64)


def _apportion(weights: np.ndarray, seats: int) -> np.ndarray:
    """Whole numbers in proportion to `weights` that sum to `seats` (largest remainders)."""
    exact = weights / weights.sum() * seats
    shares = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: seats - shares.sum()]] += 1
    return shares
