"""What heads read of imagined latents, for goals and constraints that ask for them by name."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from jepa_wm.contracts import FutureCost
from jepa_wm.dynamics.heads import Head, StateHead
from jepa_wm.errors import UserError
from jepa_wm.goals.goal import Model
from jepa_wm.planning.costs import Distance

H = TypeVar("H", bound=Head)


def head_of(model: Model, name: str, kind: type[H], asker: str) -> H:
    """The head of this name and kind.

    Raises:
        UserError: if the model has none.
    """
    head = dict(model.heads.items()).get(name)
    if not isinstance(head, kind):
        there = ", ".join(f"'{known}' ({type(part).__name__})" for known, part in model.heads.items()) or "none"
        raise UserError(
            f"{asker}: this model has no {kind.__name__} called '{name}'; its heads: {there}; "
            "name one of these, or train one with HeadTerm"
        )
    return head


def reader_of(model: Model, name: str) -> Callable[[Tensor], Tensor] | None:
    """What the state head of this name reads of latents of any precision; None where the model has no such head."""
    head = dict(model.heads.items()).get(name)
    return (lambda latents: head(latents.to(head.standard.mean))) if isinstance(head, StateHead) else None


class Readout:
    """Some columns of what a state head reads, in standard deviations from the mean of the training data.

    Args:
        model: whose head it is.
        name: of the head.
        columns: which of its numbers; None for all.
        asker: who asks, for errors.

    Raises:
        UserError: if the model has no such head, or the head no such columns.
    """

    def __init__(self, model: Model, name: str, columns: Sequence[int] | None, asker: str) -> None:
        self.head = head_of(model, name, StateHead, asker)
        self.columns = list(range(self.head.state_dim)) if columns is None else list(columns)
        if not self.columns or not set(self.columns) <= set(range(self.head.state_dim)):
            raise UserError(
                f"{asker}: got columns {self.columns}; expected some of 0 to {self.head.state_dim - 1}, which the head "
                f"'{name}' reads"
            )
        self.width = len(self.columns)

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents (..., N, D) -> (..., width)."""
        return self.head.standard(self.head(latents))[..., self.columns]

    def standard(self, values: Tensor) -> Tensor:
        """Numbers (..., width) in the environment's units -> in standard deviations from the mean."""
        mean, std = self.head.standard.mean[self.columns], self.head.standard.std[self.columns]
        return (values.to(mean) - mean) / std

    def whole(self, values: Tensor) -> Tensor:
        """Numbers (E, width) in the environment's units -> of all that the head reads (E, P), NaN for the others."""
        found = torch.full((len(values), self.head.state_dim), torch.nan).to(self.head.standard.mean)
        found[:, self.columns] = values.to(found)
        return found


def away(model: Model, goal: Tensor, by: Distance) -> FutureCost:
    """How far futures are from latents (E, N, D) or (1, N, D), or from what a state head reads of these.

    Raises:
        UserError: if the model has no such head.
    """
    if by.head is None:
        return lambda future: by.over_time(by.between(future.latents, goal))
    read = Readout(model, by.head, None, "distance.head")
    wanted = read(goal)[:, None]
    return lambda future: by.over_time(by.between(read(future.latents)[..., None, :], wanted))
