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

SPECTRAL = {
    "rankme": rankme,
    "effective_rank": effective_rank,
    "participation_ratio": participation_ratio,
    "nesum": nesum,
    "uniformity": uniformity,
}


def spectra(latents: Tensor, control: str = "model", seed: int = 0) -> list[Row]:
    """Ranks and uniformity of latents (E, T, d); intervals leave out blocks of episodes, nulls are Gaussian noise.

    alpha-ReQ carries in its name the window of eigenvalues that it was fitted on.
    """
    x, episode = latents.flatten(0, 1), torch.arange(len(latents)).repeat_interleave(latents.shape[1])
    rows = [row(name, scored(rank, x, episode, seed=seed), control) for name, rank in SPECTRAL.items()]
    law = alpha_req(x)
    window = law.first, law.last
    slope = scored(lambda part: alpha_req(part, window).alpha, x, episode, seed=seed)
    return [*rows, row(f"alpha_req_{law.first}_{law.last}", slope, control)]


def neighbours_in_time(latents: Tensor, control: str = "model", seed: int = 0) -> Row:
    """Alignment on the sphere of successive latents of (E, T, d), which `uniformity` is to be read with; the null pairs
    each with any other episode's or time's."""
    pairs = torch.stack([latents[:, :-1], latents[:, 1:]], dim=2).flatten(0, 1)
    episode = torch.arange(len(latents)).repeat_interleave(latents.shape[1] - 1)
    mixed = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)), 1]
    null = torch.stack([pairs[:, 0], mixed], dim=1)
    return row("alignment", scored(lambda pair: alignment(pair[:, 0], pair[:, 1]), pairs, episode, null), control)


def paths(latents: Tensor, control: str = "model", seed: int = 0) -> list[Row]:
    """Straightness and curvature of latents (E, T, d); the null are the same frames in random order."""
    order = torch.rand(latents.shape[:2], generator=torch.Generator().manual_seed(seed)).argsort(dim=1)
    mixed = latents[torch.arange(len(latents))[:, None], order]
    return [
        row(name, scored(measure, latents, null=mixed), control)
        for name, measure in (("straightness", straightness), ("curvature", curvature))
    ]
