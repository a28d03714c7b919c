"""Keys and values of what was read before: one copy of what all candidates share, and each one's own.

L tokens that all S candidates of a context share, l that each candidate has of its own.
"""

from typing import NamedTuple

from torch import Tensor


class Pair(NamedTuple):
    """Keys and values (B, heads, L, d) of the same tokens, keys already rotated."""

    keys: Tensor
    values: Tensor

    @property
    def tokens(self) -> int:
        """How many tokens L."""
        return self.keys.shape[2]

    def split(self, states: int, samples: int) -> list["Pair"]:
        """Those of so many candidates of each state at a time."""
        return [Pair(*each) for each in zip(*(split(part, states, samples) for part in self), strict=True)]

    def after(self, tokens: int) -> "Pair":
        """Those behind the first `tokens`."""
        return Pair(self.keys[:, :, tokens:], self.values[:, :, tokens:])


class Cache(NamedTuple):
    """What was read of the frames before.

    Attributes:
        shared: of the L tokens that were seen, (B, heads, L, d): one copy for all candidates.
        own: of the l tokens that each candidate has imagined since, step by step, (B * S, heads, N, d) each: what is
            read one by one is never copied to be in one piece.
    """

    shared: Pair
    own: tuple[Pair, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens of each candidate's past."""
        return self.shared.tokens + sum(part.tokens for part in self.own)

    def expand(self, candidates: int) -> "Cache":
        """The cache of S candidates of each state, adjacent: what was seen stays one copy."""
        own = (Pair(*(each.repeat_interleave(candidates, dim=0) for each in part)) for part in self.own)
        return Cache(self.shared, tuple(own))

    def with_new(self, new: Pair) -> "Cache":
        """It and the tokens of a new frame of each candidate."""
        return Cache(self.shared, (*self.own, new))

    def last(self, tokens: int) -> "Cache":
        """What is left of it when only the last `tokens` are kept."""
        excess, left = max(self.tokens - tokens, 0), []
        for part in (self.shared, *self.own):
            left.append(part.after(excess) if excess else part)
            excess = max(excess - part.tokens, 0)
        shared, *own = left
        return Cache(shared, tuple(part for part in own if part.tokens))


def split(x: Tensor, states: int, samples: int) -> list[Tensor]:
    """(B * S, …) -> so many candidates of each of the B states at a time."""
    return [part.flatten(0, 1) for part in x.unflatten(0, (states, -1)).split(samples, dim=1)]
