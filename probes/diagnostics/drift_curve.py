"""How far imagination strays over its horizon, in units that mean something in any latent space."""

import torch
from torch import Tensor

from probes.diagnostics.rows import Row, mean, ratio, row
from probes.drift import Stray


def drift_curve(found: Stray, control: str = "model", seed: int = 0) -> list[Row]:
    """Errors of what was imagined, and whether it names the true future among all frames of all episodes, by step.

    `drift_over_still` is the distance of imagined from real latents, over that of the last seen frame's: below 1 the
    model knows more than that nothing changes. `drift_over_pair` is it over the distance of real latents of other
    episodes at the same step: 1 is a guess. `hits_at_1` is how often the nearest frame to what was imagined is the true
    one, among those of all episodes and times, the seen one included; `mrr` the mean of 1 / its rank. Other episodes
    are told by their looks; the hard ones are the other times of the same.

    Args:
        found: what was imagined of E episodes, 2 or more.
        control: whose imagination it is.
        seed: of the resampling of episodes. The frames that are searched stay the same.
    """
    real, imagined, still = (z.flatten(2).double() for z in found[:3])
    error, baseline = (imagined - real).norm(dim=-1), (still - real).norm(dim=-1)
    episodes, steps, _ = real.shape
    frames = torch.cat([still[:, :1], real], dim=1)
    truth = torch.arange(episodes)[:, None] * (steps + 1) + torch.arange(1, steps + 1)
    among = frames.flatten(0, 1)
    hit, reciprocal = (part.view(episodes, steps) for part in named(imagined.flatten(0, 1), among, truth.flatten()))
    guess = torch.arange(1, len(among) + 1, dtype=torch.float64).reciprocal().mean().item()
    rows = []
    for k in range(steps):
        apart = torch.cdist(real[:, k], real[:, k]).sum(dim=1) / (episodes - 1)
        scores = {
            "drift_over_still": ratio(error[:, k], baseline[:, k], 1.0, seed),
            "drift_over_pair": ratio(error[:, k], apart, 1.0, seed),
            "hits_at_1": mean(hit[:, k], 1 / len(among), seed),
            "mrr": mean(reciprocal[:, k], guess, seed),
        }
        rows += [row(metric, score, control, k + 1) for metric, score in scores.items()]
    return rows


def named(queries: Tensor, frames: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the frame that is nearest to each query is the true one, and 1 / the rank of that: (n,) each.

    Where frames are equally near, both are means over all their orders: then latents that are all the same name the
    truth no more often than a guess.

    Args:
        queries: what was imagined (n, d).
        frames: what it is searched among (m, d).
        truth: index of the true frame of each query (n,).
    """
    # By matrix products equal frames would come to lie at unequal distances.
    distance = torch.cdist(queries, frames, compute_mode="donot_use_mm_for_euclid_dist")
    own = distance.gather(1, truth[:, None])
    nearer, equal = (distance < own).sum(dim=1), (distance == own).sum(dim=1)
    harmonic = torch.arange(1, len(frames) + 1, dtype=torch.float64).reciprocal().cumsum(dim=0)
    harmonic = torch.cat([torch.zeros(1, dtype=torch.float64), harmonic])
    return (nearer == 0) / equal.double(), (harmonic[nearer + equal] - harmonic[nearer]) / equal
