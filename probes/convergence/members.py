"""What is compared: models of a feature store, each at one or several checkpoints."""

from typing import NamedTuple

import torch
from torch import Tensor

from probes.store import FeatureStore

TRUTH = ("state", "factors")
HEIGHT = 100.0
"""In standard deviations: the distance from which states are seen; the order of distances is off by one in 10⁴."""


class Member(NamedTuple):
    """A model at one checkpoint.

    Attributes:
        model: its name in the store.
        step: of training; None for what was not trained in steps, and for a run's end.
        share: of the training that was done, in percent; None where there is but one checkpoint.
    """

    model: str
    step: int | None
    share: int | None = None


def members(store: FeatureStore) -> dict[str, list[Member]]:
    """The checkpoints of each model of a store, in the order of training."""
    found = {}
    for model in dict.fromkeys(entry.model for entry in store.entries()):
        steps = store.steps(model)
        last = max((step for step in steps if step is not None), default=None)
        shares = [None if step is None or not last else round(100 * step / last) for step in steps]
        found[model] = [Member(model, step, share) for step, share in zip(steps, shares, strict=True)]
    return found


def partners(one: list[Member], other: list[Member]) -> list[tuple[Member, Member]]:
    """Each checkpoint of one model with that of the other which had done the nearest share of its training.

    The model with more checkpoints sets the pace; what has but one stands beside every checkpoint of the other.
    """
    if len(one) < len(other):
        return [(a, b) for b, a in partners(other, one)]
    return [(member, min(other, key=lambda candidate: _apart(member, candidate))) for member in one]


class Gallery:
    """The samples that models are compared on: one of each held-out episode, since moments of one are no two samples.

    Args:
        store: where the features are.
        pooling: of a layer's tokens.
        splits: whose rows are taken.
    """

    def __init__(self, store: FeatureStore, pooling: str, splits: tuple[str, ...] = ("val", "test")) -> None:
        self.store, self.pooling, self.splits = store, pooling, splits
        self._first = {split: _first_of_each(store.rows(split).episode) for split in splits}
        self._read: dict[Member, list[Tensor]] = {}

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._first.values())

    def names(self, member: Member) -> list[str]:
        """Names of its layers, from first to last."""
        return self.store.layers(member.model, member.step)

    def layers(self, member: Member) -> list[Tensor]:
        """Features (n, d) of each layer; what was read is kept."""
        if member not in self._read:
            layers = [
                torch.cat([self._whole(member, layer, split)[rows] for split, rows in self._first.items()])
                for layer in self.names(member)
            ]
            self._read[member] = [lifted(layer) for layer in layers] if member.model in TRUTH else layers
        return self._read[member]

    def _whole(self, member: Member, layer: str, split: str) -> Tensor:
        return self.store.features(member.model, member.step, layer, self.pooling, split)


def lifted(x: Tensor) -> Tensor:
    """States x (n, d) standardised, and a constant beside them that is large against them: (n, d + 1).

    Metrics by cosine ask who lies in the same direction, which of a latent is how near it is and of a position is not.
    From far below a plane, who is near in direction is near in the plane. Translation is nothing to the other metrics.
    """
    x = x.double()
    spread = x.std(dim=0)
    unit = (x - x.mean(dim=0)) / torch.where(spread > 0, spread, 1.0)
    return torch.cat([unit, torch.full((len(x), 1), HEIGHT, dtype=x.dtype)], dim=1)


def _first_of_each(episode: Tensor) -> Tensor:
    """The first row (m,) of each episode (n,), whose rows are adjacent."""
    return torch.cat([torch.tensor([True]), episode[1:] != episode[:-1]]).nonzero()[:, 0]


def _apart(one: Member, other: Member) -> int:
    return 0 if one.share is None or other.share is None else abs(one.share - other.share)
