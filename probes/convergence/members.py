"""What is compared: models of a feature store, each at one or several checkpoints."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.errors import UserError
from probes.alignment.many import pooled
from probes.sources import Source
from probes.store import FeatureStore, titled

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


class Meeting(NamedTuple):
    """Two checkpoints that are compared, and the share of training, in percent, that stands for both."""

    one: Member
    other: Member
    share: int | None


def members(sources: Iterable[Source]) -> dict[str, list[Member]]:
    """The checkpoints of each model, models as they were named and checkpoints in the order of training.

    They are those that were asked for: a store may hold others, of an earlier call.
    """
    steps: dict[str, set[int | None]] = {}
    for source in sources:
        steps.setdefault(source.model, set()).add(source.step)
    found = {}
    for model, own in steps.items():
        last = max((step for step in own if step is not None), default=None)
        found[model] = [
            Member(model, step, None if step is None or not last else round(100 * step / last))
            for step in sorted(own, key=lambda step: (step is None, step or 0))
        ]
    return found


def partners(one: list[Member], other: list[Member]) -> list[Meeting]:
    """Each checkpoint of one model with that of the other which had done the nearest share of its training.

    The model with more checkpoints sets the pace; what has but one stands beside every checkpoint of the other.
    """
    if len(one) < len(other):
        return [Meeting(a, b, share) for b, a, share in partners(other, one)]
    met = [(member, min(other, key=lambda candidate: _apart(member, candidate))) for member in one]
    return [Meeting(a, b, b.share if a.share is None else a.share) for a, b in met]


class Gallery:
    """The samples that models are compared on, each another episode or image: moments of one are no two samples.

    Args:
        store: where the features are.
        pooling: of a layer's tokens.
        splits: whose rows are taken.
        views: whether a sample is the mean over all rows of its episode or image, frames or captions (see `pooled`);
            else it is the first of them.

    Attributes:
        rows: those of a sample that are pooled, on average; 1 where the first stands for all.
        collapsed: a sentence for each checkpoint of which layers were left out.
    """

    def __init__(
        self, store: FeatureStore, pooling: str, splits: tuple[str, ...] = ("val", "test"), views: bool = False
    ) -> None:
        self.store, self.pooling, self.splits = store, pooling, splits
        items = {split: store.rows(split).episode for split in splits}
        first = {split: _first_of_each(own) for split, own in items.items()}
        self._count = sum(map(len, first.values()))
        self._taken: Mapping[str, Tensor | slice] = dict.fromkeys(splits, slice(None)) if views else first
        self._views = torch.cat(list(items.values())) if views else None
        self._read: dict[Member, dict[str, Tensor]] = {}
        self.rows = 1.0 if self._views is None else len(self._views) / len(self)
        self.collapsed: list[str] = []

    def __len__(self) -> int:
        return self._count

    def names(self, member: Member) -> list[str]:
        """Names of its layers, from first to last, without those that are the same in every sample.

        Raises:
            UserError: if no layer is left.
        """
        return list(self._varied(member))

    def layers(self, member: Member) -> list[Tensor]:
        """Features (n, d) of each of them.

        Raises:
            UserError: if no layer is left.
        """
        return list(self._varied(member).values())

    def _varied(self, member: Member) -> dict[str, Tensor]:
        if member not in self._read:
            names = self.store.layers(member.model, member.step, self.pooling)
            read = {name: self._of_samples(member, name) for name in names}
            self._read[member] = {name: layer for name, layer in read.items() if (layer != layer[0]).any()}
            dropped = [name for name in names if name not in self._read[member]]
            if dropped:
                self.collapsed.append(
                    f"{titled(member.model, member.step)}: {', '.join(dropped)} of its layers {', '.join(names)} are "
                    "the same in every sample, and are left out"
                )
        if not self._read[member]:
            raise UserError(
                f"{titled(member.model, member.step)} has collapsed: no layer tells two samples apart; leave it out"
            )
        return self._read[member]

    def _of_samples(self, member: Member, layer: str) -> Tensor:
        parts = [
            self.store.features(member.model, member.step, layer, self.pooling, split)[rows]
            for split, rows in self._taken.items()
        ]
        features = lifted(torch.cat(parts)) if member.model in TRUTH else torch.cat(parts)
        return features if self._views is None else pooled(features, self._views)


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
