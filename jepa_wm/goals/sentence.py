"""Words for what is to be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jepa_wm.contracts import Future, FutureCost
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Goal, Model
from jepa_wm.observations import check_count
from jepa_wm.planning.costs import Distance

TEMPERATURE = 0.07
"""Of the shares, in units of the cosine: what the contrast of pictures and sentences begins to learn with."""


@dataclass(frozen=True)
class Sentence(Goal):
    """Latents that a sentence describes, in the space of the text alignment.

    Alone it costs one minus their cosine. Against others it costs minus the logarithm of its share among them, as in
    CLIP's zero-shot classification: a place that two sentences describe alike is then worse than one that is of the
    sentence alone, where their cosines may be the same.

    Args:
        sentences: one for all environments, or one for each.
        against: sentences that it is to be told from, the same for all; itself does not count.
        distance: how steps add up; the search's own if none is given.
        weight: see `Goal`.

    Raises:
        UserError: if there is none, or one is blank, or is to be told from nothing but itself.
    """

    sentences: str | list[str]
    against: Sequence[str] = ()
    distance: Distance | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self._own:
            raise UserError("Sentence: got no sentences; expected one, or one for each environment")
        if blank := [sentence for sentence in (*self._own, *self.against) if not sentence.strip()]:
            raise UserError(f"Sentence: got {blank[0]!r}; expected words, such as 'the top of the left room'")
        alone = [own for own in self._own if self.against and all(other == own for other in self.against)]
        if alone:
            raise UserError(
                f"Sentence: '{alone[0]}' is to be told from nothing but itself; got against {list(self.against)}; "
                "expected another sentence among them, or none at all"
            )

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        if model.text is None:
            raise UserError("plan: the goal is a sentence, but this model has no text alignment; train one with it")
        return self.settled(model).cost(model, environments, distance)

    def of(self, environments: Tensor) -> "Sentence":
        if len(self._own) == 1:
            return self
        check_count(len(self._own), len(environments), "sentences")
        kept = [sentence for sentence, keep in zip(self._own, environments.tolist(), strict=True) if keep]
        return replace(self, sentences=kept)

    def settled(self, model: Model) -> Goal:
        if model.text is None:
            return self
        sentences = list(dict.fromkeys([*self._own, *self.against]))
        known = dict(zip(sentences, model.text.text(sentences), strict=True))
        own, rest = ([known[sentence] for sentence in given] for given in (self._own, self.against))
        same = torch.tensor([[other == sentence for other in self.against] for sentence in self._own], dtype=torch.bool)
        vectors = torch.stack(own)
        others = torch.stack(rest) if rest else vectors[:0]
        return SentenceVectors(vectors, others, same.to(vectors.device), self.distance, self.weight)

    @property
    def _own(self) -> list[str]:
        return [self.sentences] if isinstance(self.sentences, str) else self.sentences


@dataclass(frozen=True)
class SentenceVectors(Goal):
    """Latents that sentences describe, of which a model's text alignment has made vectors: see `Sentence`.

    Args:
        vectors: one for all environments, (1, W), or one for each, (E, W), of length 1.
        others: those that they are to be told from, (O, W); there may be none.
        same: which of these do not count, bool (1, O) or (E, O).
        distance: how steps add up; the search's own if none is given.
        weight: see `Goal`.
    """

    vectors: Tensor
    others: Tensor
    same: Tensor
    distance: Distance | None = None
    weight: float = 1.0

    def cost(self, model: Model, environments: int, distance: Distance) -> FutureCost:
        text, by, vectors = model.text, self.distance or distance, self.vectors[:, None, None]
        check_count(len(vectors), environments, "sentences")
        assert text is not None
        if not len(self.others):
            return lambda future: by.over_time(1 - text.similarity(future.latents, vectors))

        def cost(future: Future) -> Tensor:
            seen = text.image(future.latents)
            with torch.autocast(seen.device.type, enabled=False):  # cosines of bfloat16 are off by a tenth of a share
                rest = (seen @ self.others.mT).masked_fill(self.same[:, None, None], -torch.inf)
            own = (seen * vectors).sum(dim=-1, keepdim=True)
            return by.over_time(-(torch.cat([own, rest], dim=-1) / TEMPERATURE).log_softmax(dim=-1)[..., 0])

        return cost

    @property
    def given(self) -> str:
        return Sentence.__name__

    def of(self, environments: Tensor) -> "SentenceVectors":
        if len(self.vectors) == 1:
            return self
        check_count(len(self.vectors), len(environments), "sentences")
        kept = environments.to(self.vectors.device)
        return replace(self, vectors=self.vectors[kept], same=self.same[kept])
