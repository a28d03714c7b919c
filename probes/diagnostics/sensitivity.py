"""Whether a model listens to actions: the same beginnings under the actions of other episodes."""

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.world_model import WorldModel
from probes.diagnostics.rows import Row, ratio, row
from probes.drift import Film
from probes.features import BATCH

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
    futures, frames = imagined.flatten(3).double(), real.flatten(2).double()
    moved = (frames[:, 1:] - frames[:, :1]).norm(dim=-1)
    gap = (futures[:, 1:] - futures[:, :1]).norm(dim=-1).mean(dim=1)
    error = (futures - frames[:, None, 1:]).norm(dim=-1)
    grown = error[:, 1:].mean(dim=1) - error[:, 0]
    way = futures - frames[:, None, :1]
    rows = []
    for k in range(futures.shape[2]):
        scores = {
            "action_gap": ratio(gap[:, k], moved[:, k], 0.0, seed),
            "shuffled_error": ratio(grown[:, k], moved[:, k], 0.0, seed),
            "action_share": action_share(way[:, 1:, k], seed),
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
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(episodes, (500, episodes), generator=generator)
    within = way.var(dim=1).sum(dim=-1)
    means = way.mean(dim=1)

    def share(rows: Tensor) -> float:
        inside = within[rows].mean()
        between = (means[rows].var(dim=0).sum() - inside / others).clamp(min=0)
        return (inside / (inside + between)).item() if inside + between > 0 else 0.0

    drawn = torch.tensor([share(rows) for rows in picks], dtype=torch.float64)
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Score(share(torch.arange(episodes)), 0.0, (low, high), episodes)
