"""Words for what is to be."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
        UserError: if one is blank, or is to be told from nothing but itself.
    """

    sentences: str | list[str]
    against: Sequence[str] = ()
    distance: Distance | None = None
    weight: float = 1.0
    _settled: tuple[Model, dict[str, Tensor]] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
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
        text, by, sentences = model.text, self.distance or distance, self._own
        check_count(len(sentences), environments, "sentences")
        known = self._vectors(model)
        vectors = torch.stack([known[sentence] for sentence in sentences])[:, None, None]
        if not self.against:
            return lambda future: by.over_time(1 - text.similarity(future.latents, vectors))
        others = torch.stack([known[sentence] for sentence in self.against])
        same = torch.tensor([[other == own for other in self.against] for own in sentences], device=others.device)

        def cost(future: Future) -> Tensor:
            seen = text.image(future.latents)
            with torch.autocast(seen.device.type, enabled=False):  # cosines of bfloat16 are off by a tenth of a share
                rest = (seen @ others.mT).masked_fill(same[:, None, None], -torch.inf)
            own = (seen * vectors).sum(dim=-1, keepdim=True)
            return by.over_time(-(torch.cat([own, rest], dim=-1) / TEMPERATURE).log_softmax(dim=-1)[..., 0])

        return cost

    def of(self, environments: Tensor) -> "Sentence":
        if len(self._own) == 1:
            return self
        check_count(len(self._own), len(environments), "sentences")
        kept = [sentence for sentence, keep in zip(self._own, environments.tolist(), strict=True) if keep]
        return replace(self, sentences=kept)._keep(self._settled)

    def settled(self, model: Model) -> "Sentence":
        return self if model.text is None else replace(self)._keep((model, self._vectors(model)))

    @property
    def _own(self) -> list[str]:
        return [self.sentences] if isinstance(self.sentences, str) else self.sentences

    def _keep(self, settled: tuple[Model, dict[str, Tensor]] | None) -> "Sentence":
        object.__setattr__(self, "_settled", settled)
        return self

    def _vectors(self, model: Model) -> dict[str, Tensor]:
        """Of each sentence, its own and the others, its vector in the space of the text alignment."""
        if self._settled is not None and self._settled[0] is model:
            return self._settled[1]
        assert model.text is not None
        sentences = list(dict.fromkeys([*self._own, *self.against]))
        return dict(zip(sentences, model.text.text(sentences), strict=True))
