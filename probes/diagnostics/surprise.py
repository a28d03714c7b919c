"""Violation of expectation: whether what cannot be surprises a model more than what can."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.statistics import wilson
from jepa_wm.world_model import WorldModel
from probes.diagnostics.ranks import wins
from probes.diagnostics.rows import Row, counts, row
from probes.drift import Film, encode
from probes.features import BATCH
from probes.statistics import interval


@torch.no_grad()
def surprise(model: WorldModel, film: Film) -> Tensor:
    """Mean absolute difference of each frame's latents from those expected one step before: (E, T - 1).

    The model is told what was done.

    Source: V-JEPA's intuitive physics (arXiv 2502.11831), whose surprise is this L1 distance, there over windows of a
    video without actions.
    """
    real = encode(model, film.pixels.flatten(0, 1), film.state.flatten(0, 1)).unflatten(0, film.state.shape[:2])
    before = (film.pixels[:, :-1].flatten(0, 1), film.actions.flatten(0, 1)[:, None], film.state[:, :-1].flatten(0, 1))
    batches = zip(*(part.split(BATCH) for part in before), strict=True)
    expected = torch.cat(
        [model.imagine(pixels, action, state=state, clip=True).latents[:, 0].cpu() for pixels, action, state in batches]
    )
    return (expected.view_as(real[:, 1:]) - real[:, 1:]).abs().mean(dim=(-2, -1))


def change(frames: Tensor) -> Tensor:
    """Mean absolute difference of each of frames (E, T, ...) from the one before: (E, T - 1)."""
    return frames.float().diff(dim=1).abs().flatten(2).mean(dim=-1)


def violations(possible: Tensor, impossible: Tensor, kind: str, control: str = "model", seed: int = 0) -> list[Row]:
    """How often clips that cannot be surprise more than those that can, by their largest and by their mean surprise.

    `_accuracy` holds each against its own twin, its interval is Wilson's; `_auroc` holds it against every possible
    clip, as one would have to without a twin, its interval resamples pairs. Equal surprises count half.

    Args:
        possible: surprises (E, T - 1) of clips that can be.
        impossible: of their twins.
        kind: what cannot be in them.
        control: who is surprised.
        seed: of the resampling.
    """
    rows = []
    for name, (low, high) in {
        "max": (possible.amax(dim=1), impossible.amax(dim=1)),
        "mean": (possible.mean(dim=1), impossible.mean(dim=1)),
    }.items():
        won = wins(high, low)
        rows.append(row(f"voe_{kind}_{name}_accuracy", _accuracy(won.diagonal()), control))
        rows.append(row(f"voe_{kind}_{name}_auroc", _auroc(won, seed), control))
    return rows


def _accuracy(won: Tensor) -> Score:
    total, n = won.sum().item(), len(won)
    return Score(total / n, 0.5, wilson(total, n), n)


def _auroc(won: Tensor, seed: int) -> Score:
    """The mean of won (E, E); a draw takes the same pairs for rows and columns."""
    times = counts(len(won), seed)
    return Score(won.mean().item(), 0.5, interval((times @ won * times).sum(dim=1) / len(won) ** 2), len(won))
