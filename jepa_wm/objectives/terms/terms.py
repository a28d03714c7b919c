"""Several terms at once."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from jepa_wm.contracts import Batch, LatentTerm
from jepa_wm.errors import UserError

TAKEN = {"loss", "one_step", "rollout", "rollout_relative"}
"""What objectives call their own losses."""


class Terms(nn.ModuleDict):
    """Terms by name, each with its weight.

    Args:
        terms: what is asked of the latents.

    Raises:
        UserError: if one has the name of what an objective says itself, or none that `nn.ModuleDict` can take, or two
            would be saved under one name.
    """

    def __init__(self, terms: dict[str, LatentTerm]) -> None:
        if taken := sorted(TAKEN & terms.keys()):
            raise UserError(f"terms: got the names {taken}; expected others than {', '.join(sorted(TAKEN))}")
        super().__init__()
        if wrong := [name for name in terms if not name.isidentifier() or hasattr(self, name)]:
            raise UserError(
                f"terms: got the names {wrong}; expected words of letters, digits and underscores, other than the "
                "attributes and methods of nn.ModuleDict and of Terms"
            )
        self.update(terms)
        saved = Counter(name for term in self._each().values() for name in term.exported())
        if twice := sorted(name for name, count in saved.items() if count > 1):
            raise UserError(f"terms: got several that are saved as {twice}; expected a name for each")

    def forward(self, latents: Tensor, imagined: Tensor | None, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of all, weighted, and what each says before its weight; arguments are `LatentTerm.forward`'s."""
        found = {name: term(latents, imagined, batch) for name, term in self._each().items()}
        weighted = [term.weight * found[name] for name, term in self._each().items()]
        return torch.stack([latents.new_zeros(()), *weighted]).sum(), found

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Show the data's statistics to all."""
        for term in self._each().values():
            term.prepare(statistics)

    def after_step(self, progress: float) -> None:
        """Let all follow an optimiser step."""
        for term in self._each().values():
            term.after_step(progress)

    def exported(self) -> dict[str, nn.Module]:
        """The heads of all, by the names that they are saved under."""
        return {name: head for term in self._each().values() for name, head in term.exported().items()}

    def _each(self) -> dict[str, LatentTerm]:
        return {name: term for name, term in self.items() if isinstance(term, LatentTerm)}
