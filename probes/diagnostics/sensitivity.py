"""Whether a model listens to actions: the same beginnings under the actions of other episodes."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.world_model import WorldModel
from probes.diagnostics.rows import Row, counts, ratio, row
from probes.drift import Film
from probes.features import BATCH
from probes.statistics import interval

OTHERS = 8


@torch.no_grad()
def imagine_others(model: WorldModel, film: Film, others: int = OTHERS, seed: int = 0) -> Tensor:
    """What follows each first frame under its own actions and under those of other episodes: (E, 1 + S, K, N, D).

    Args:
        model: the world model.
        film: of E episodes.
        others: S, episodes whose actions each of them is given; E - 1 at most.
        seed: chooses them.

    Raises:
        UserError: if there is one episode only.
    """
    episodes = len(film.actions)
    if episodes < 2:
        raise UserError("sensitivity: got 1 episode; expected at least 2, whose actions can be exchanged")
    shifts = 1 + torch.randperm(episodes - 1, generator=torch.Generator().manual_seed(seed))[:others]
    whose = (torch.arange(episodes)[:, None] + torch.cat([torch.zeros(1, dtype=torch.long), shifts])) % episodes
    imagined = [
        model.imagine(
            film.pixels[rows, 0], film.actions[whose[rows]].flatten(0, 1), state=film.state[rows, 0], clip=True
        )
        .latents.cpu()
        .unflatten(0, (len(rows), whose.shape[1]))
        for rows in torch.arange(episodes).split(max(1, BATCH // whose.shape[1]))
    ]
    return torch.cat(imagined)


def sensitivity(imagined: Tensor, real: Tensor, control: str = "model", seed: int = 0) -> list[Row]:
    """How much of what is imagined is due to the actions, by step; all of it is 0 if the model ignores them.

    `action_gap` is how far futures under others' actions lie from that under the own ones, and `shuffled_error` by how
    much the error grows under them; both in units of how far the world really moved. Where the model imagines as well
    with any actions the second is 0, however much it listens to them. `action_share` is `action_share` of the
    variance of how far each future moves.

    Args:
        imagined: (E, 1 + S, K, N, D), as `imagine_others` gives it.
        real: latents of the frames, the first one included, (E, 1 + K, N, D).
        control: whose imagination it is.
        seed: of the resampling of episodes.
    """
    first, rows = real[:, 0].flatten(1).double(), []
    # Step by step: of a model of many tokens there would be gibibytes in float64.
    for k in range(imagined.shape[2]):
        futures, frame = imagined[:, :, k].flatten(2).double(), real[:, k + 1].flatten(1).double()
        moved = (frame - first).norm(dim=-1)
        gap = (futures[:, 1:] - futures[:, :1]).norm(dim=-1).mean(dim=1)
        error = (futures - frame[:, None]).norm(dim=-1)
        scores = {
            "action_gap": ratio(gap, moved, 0.0, seed),
            "shuffled_error": ratio(error[:, 1:].mean(dim=1) - error[:, 0], moved, 0.0, seed),
            "action_share": action_share(futures[:, 1:] - first[:, None], seed),
        }
        rows += [row(metric, score, control, k + 1) for metric, score in scores.items()]
    return rows


def action_share(way: Tensor, seed: int = 0) -> Score:
    """The share of the variance of ways (E, S, d) that actions explain: the rest lies between the beginnings.

    Components of variance of a one-way analysis: within beginnings, whose S ways differ by their actions alone, over
    within and between. The interval resamples beginnings.

    Raises:
        UserError: if there are fewer than 2 ways of a beginning.
    """
    episodes, others, _ = way.shape
    if others < 2:
        raise UserError(f"action_share: got {others} ways of each beginning; expected at least 2: give more episodes")
    within, means = way.var(dim=1).sum(dim=-1), way.mean(dim=1)
    means = means - means.mean(dim=0)
    products = means @ means.T

    def share(weight: Tensor) -> Tensor:
        """Of beginnings as they are weighted, (draws, E)."""
        inside = weight @ within
        spread = weight @ products.diagonal() - (weight @ products * weight).sum(dim=1)
        between = (spread * episodes / (episodes - 1) - inside / others).clamp(min=0)
        total = inside + between
        return torch.where(total > 0, inside / total.clamp(min=torch.finfo(total.dtype).tiny), 0.0)

    value = share(torch.full((1, episodes), 1 / episodes, dtype=way.dtype)).item()
    return Score(value, 0.0, interval(share(counts(episodes, seed).to(way) / episodes)), episodes)
