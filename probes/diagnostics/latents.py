"""Health of a world model's latents over whole episodes, beside an untrained encoder's and the pixels' straightness."""

import torch
from torch import Tensor

from probes.diagnostics.rows import Row, row
from probes.health import (
    alignment,
    alpha_req,
    curvature,
    effective_rank,
    nesum,
    participation_ratio,
    rankme,
    scored,
    straightness,
    uniformity,
)

RANKS = {
    "rankme": rankme,
    "effective_rank": effective_rank,
    "participation_ratio": participation_ratio,
    "nesum": nesum,
}


def ranks(latents: Tensor, control: str = "model", seed: int = 0) -> list[Row]:
    """Ranks of latents (E, T, d); intervals leave out blocks of episodes, nulls are Gaussian noise."""
    x, episode = _rows(latents)
    return [row(name, scored(rank, x, episode, seed=seed), control) for name, rank in RANKS.items()]


def decay(latents: Tensor, control: str = "model", seed: int = 0) -> list[Row]:
    """How fast the spectrum of latents (E, T, d) falls; the window that alpha-ReQ was fitted on is in its name.

    Raises:
        UserError: as `alpha_req`, where so few dimensions are left that there is no line to fit.
    """
    x, episode = _rows(latents)
    law = alpha_req(x)
    window = law.first, law.last
    slope = scored(lambda part: alpha_req(part, window).alpha, x, episode, seed=seed)
    return [row(f"alpha_req_{law.first}_{law.last}", slope, control)]


def sphere(latents: Tensor, control: str = "model", seed: int = 0) -> list[Row]:
    """Uniformity on the sphere of latents (E, T, d), and alignment of successive ones, to be read together; the null of
    alignment pairs each with any other episode's or time's.

    Raises:
        UserError: if a latent is zero.
    """
    x, of_row = _rows(latents)
    even = row("uniformity", scored(uniformity, x, of_row, seed=seed), control)
    pairs = torch.stack([latents[:, :-1], latents[:, 1:]], dim=2).flatten(0, 1)
    episode = torch.arange(len(latents)).repeat_interleave(latents.shape[1] - 1)
    mixed = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)), 1]
    null = torch.stack([pairs[:, 0], mixed], dim=1)
    near = scored(lambda pair: alignment(pair[:, 0], pair[:, 1]), pairs, episode, null)
    return [even, row("alignment", near, control)]


def paths(latents: Tensor, control: str = "model", seed: int = 0) -> list[Row]:
    """Straightness and curvature of latents (E, T, d); the null are the same frames in random order."""
    order = torch.rand(latents.shape[:2], generator=torch.Generator().manual_seed(seed)).argsort(dim=1)
    mixed = latents[torch.arange(len(latents))[:, None], order]
    return [
        row(name, scored(measure, latents, null=mixed), control)
        for name, measure in (("straightness", straightness), ("curvature", curvature))
    ]


def _rows(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Latents (E, T, d) as rows (E * T, d), and the episode of each."""
    return latents.flatten(0, 1), torch.arange(len(latents)).repeat_interleave(latents.shape[1])
