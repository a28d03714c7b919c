"""How far off a model reads the state of what it imagines: what a margin around a region has to allow for."""

from collections.abc import Iterable, Sequence

import torch

from jepa_wm.data import Episode
from jepa_wm.dynamics.heads import StateHead
from jepa_wm.dynamics.rollout import rollout
from jepa_wm.errors import UserError
from jepa_wm.goals.readout import head_of
from jepa_wm.world_model import WorldModel


@torch.no_grad()
def misread(
    model: WorldModel,
    episodes: Iterable[Episode],
    blocks: int = 1,
    quantile: float = 0.95,
    columns: Sequence[int] | None = None,
    head: str = "state",
) -> float:
    """How far off, in the environment's units, the state is that a head reads off imagined frames.

    Every frame of an episode is imagined from the one `blocks` of its own actions before. Of a frame counts the column
    that is off farthest, since a box is left through any of its sides; of the frames, a quantile.

    Args:
        model: the world model.
        episodes: held-out ones, recorded at each environment step.
        blocks: how far ahead; as far as a controller goes before it plans again (`Search.replan`).
        quantile: share of the frames that are off by no more.
        columns: which of the head's numbers; None for all.
        head: name of the head.

    Raises:
        UserError: if the model has no such head, the episodes are too short, or a number is out of range.
    """
    if blocks < 1 or not 0 < quantile <= 1:
        raise UserError(f"misread: got blocks {blocks} and quantile {quantile}; expected 1 or more, and 0 to 1")
    read, skip, found = head_of(model, head, StateHead, "misread"), model.dynamics.frame_skip, []
    for episode in episodes:
        pixels, state = torch.from_numpy(episode.frames[::skip]), torch.from_numpy(episode.state[::skip])
        count = len(pixels) - blocks
        if count < 1:
            continue
        steps = torch.from_numpy(episode.actions[: (len(pixels) - 1) * skip])
        actions = model.bounds(steps.unflatten(0, (-1, skip)).flatten(1)[None], clip=True)[0].unfold(0, blocks, 1)
        seen = model.encode(pixels[:count, None], state[:count, None])
        told = read(rollout(model.dynamics, seen, actions.mT[:, :0], actions.mT)[:, -1])
        off = (told - state[blocks:].to(told)).abs()
        found.append((off if columns is None else off[:, list(columns)]).amax(dim=-1).cpu())
    if not found:
        raise UserError(f"misread: no episode is {blocks} blocks of {skip} steps long; expected longer ones")
    return torch.cat(found).quantile(quantile).item()
