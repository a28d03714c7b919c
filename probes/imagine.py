"""What a world model imagines, beside what happened.

E episodes, K imagined steps; each step is a block of `frame_skip` recorded actions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from jepa_wm.data import BrokenSample, Episode, EpisodeShards
from jepa_wm.data.broken import BrokenList
from jepa_wm.dynamics.heads import StateHead
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, write_json
from jepa_wm.world_model import WorldModel
from probes.features import BATCH, Rows
from probes.linear import Split, r_squared, ridge
from probes.strips import compare, decoded, nearest

EPISODES = 4

Reader = Callable[[Tensor], Tensor]
"""Latents (..., N, D) -> states (..., P)."""


class Imagination(NamedTuple):
    """Real and imagined futures of E episodes; column 0 is the frame that was seen, in both.

    Attributes:
        frames: real frames, uint8 (E, K+1, C, H, W).
        state: their states, (E, K+1, P).
        real: their latents, (E, K+1, N, D).
        imagined: latents imagined from frame 0 and the recorded actions, (E, K+1, N, D).
        uncertainty: what an ensemble expects its error to be (E, K); None of a single predictor.
    """

    frames: Tensor
    state: Tensor
    real: Tensor
    imagined: Tensor
    uncertainty: Tensor | None = None


def write_imagination(folder: Path, model: WorldModel, shards: EpisodeShards, rows: dict[str, Rows]) -> None:
    """Write `imagination.png` and `drift.json` of the episodes of `shards` to `folder`.

    In the picture each of four episodes has two rows or more: the real frames; the training frames whose latents are
    nearest to the imagined ones; what each `PixelHead` of the model draws of the imagined latents.

    Args:
        folder: where to write.
        model: the world model.
        shards: held-out episodes.
        rows: "train" is searched for frames and fits the position probe, whose penalty "val" chooses.

    Raises:
        UserError: if no block of actions fits into the shortest episode, or all are broken.
    """
    train, val = (encode(model, rows[split].pixels, rows[split].state) for split in ("train", "val"))
    imagination = roll_out(model, shards)
    read = position_reader((train.flatten(1), rows["train"].state), (val.flatten(1), rows["val"].state))
    readers = {"position": lambda latents: read(latents.flatten(-2)), **state_heads(model)}
    real, shown = imagination.frames[:EPISODES], imagination.imagined[:EPISODES]
    found = nearest(shown[:, 1:].flatten(0, 1).flatten(1), train.flatten(1)).unflatten(0, shown[:, 1:].shape[:2])
    strips = {
        "real": real,
        "nearest": torch.cat([real[:, :1], rows["train"].pixels[found]], dim=1),
        **decoded(model, shown, real.shape[-2:]),
    }
    result = {"frame_skip": model.dynamics.frame_skip, "rows": list(strips), **drift(imagination, readers)}
    write_json(folder / "drift.json", result)
    picture = compare(*strips.values())
    with atomic_path(folder / "imagination.png") as aside:
        picture.save(aside, "png")


@torch.no_grad()
def encode(model: WorldModel, pixels: Tensor, state: Tensor) -> Tensor:
    """A world model's latents (n, N, D) of pixels uint8 (n, C, H, W) with their states (n, P), batch by batch."""
    batches = zip(pixels[:, None].split(BATCH), state[:, None].split(BATCH), strict=True)
    return torch.cat([model.encode(*batch)[:, 0].cpu() for batch in batches])


def roll_out(model: WorldModel, shards: EpisodeShards) -> Imagination:
    """Imagine every episode from its first frame, as many steps as fit into the shortest one."""
    skip = model.dynamics.frame_skip
    shortest = int(min(length for length in shards.lengths().tolist() if length))
    steps = (shortest - 1) // skip
    if steps < 1:
        raise UserError(
            f"{shards} has an episode of {shortest} frames; expected at least {skip + 1}, since the model skips {skip}"
        )
    episodes = _read(shards)
    times = np.arange(0, steps * skip + 1, skip)
    frames = torch.from_numpy(np.stack([episode.frames[times] for episode in episodes]))
    state = torch.from_numpy(np.stack([episode.state[times] for episode in episodes]))
    actions = torch.from_numpy(np.stack([episode.actions[: steps * skip] for episode in episodes]))
    real = encode(model, frames.flatten(0, 1), state.flatten(0, 1)).unflatten(0, frames.shape[:2])
    blocks = actions.reshape(len(episodes), steps, -1)
    future = model.imagine(frames[:, 0], blocks, state=state[:, 0], clip=True)
    imagined = torch.cat([real[:, :1], future.latents.cpu()], dim=1)
    return Imagination(frames, state, real, imagined, None if future.uncertainty is None else future.uncertainty.cpu())


def _read(shards: EpisodeShards) -> list[Episode]:
    episodes, broken = [], BrokenList(str(shards), len(shards))
    for index in range(len(shards)):
        try:
            episodes.append(shards[index])
        except BrokenSample as error:
            broken.add(error)
    if not episodes:
        raise UserError(f"every episode of {shards} is broken")
    return episodes


def state_heads(model: WorldModel) -> dict[str, Reader]:
    """What reads the state off latents in the model itself, by name and `_head`."""

    def reader(head: StateHead) -> Reader:
        return lambda latents: head(latents.to(model.device)).cpu()

    return {f"{name}_head": reader(head) for name, head in model.heads.items() if isinstance(head, StateHead)}


def position_reader(train: Split, val: Split) -> Callable[[Tensor], Tensor]:
    """A ridge probe, fitted on `train` and its penalty chosen on `val`: latents (..., D) -> states (..., P)."""
    (x, y), (val_x, val_y) = ((part.double() for part in split) for split in (train, val))
    centre, offset = x.mean(dim=0), y.mean(dim=0)
    weights = ridge(x - centre, y - offset)
    chosen = weights[r_squared((val_x - centre) @ weights + offset, val_y).mean(dim=-1).argmax()]
    return lambda latents: (latents.double() - centre) @ chosen + offset


@torch.no_grad()
def drift(imagination: Imagination, readers: dict[str, Reader]) -> dict[str, Any]:
    """How far imagination strays at each step, as means over episodes.

    `latent_error` is the squared distance of imagined from real latents, `still_error` that of frame
    0's latent, `relative_error` their ratio: below 1 the model knows more than that nothing changes.
    `<reader>_error` is the distance, in the state's units, of the state that a reader finds in the
    imagined latents; `<reader>_error_real` is the same of the real latents, the best that can be hoped
    for, and `<reader>_error_still` that of frame 0's. `uncertainty` is there of an ensemble.

    Args:
        imagination: what was imagined.
        readers: what reads states, by name; "position" is the ridge probe.
    """
    _, state, real, imagined, uncertainty = imagination
    still = real[:, :1].expand_as(real)
    error, baseline = ((z - real).square().flatten(2).sum(dim=-1).mean(dim=0)[1:] for z in (imagined, still))
    latents = {"": imagined, "_real": real, "_still": still}
    return {
        "episodes": len(state),
        "step": list(range(1, state.shape[1])),
        "latent_error": error.tolist(),
        "still_error": baseline.tolist(),
        "relative_error": (error / baseline.clamp(min=torch.finfo(torch.float32).tiny)).tolist(),
        **{
            f"{reader}_error{kind}": (read(z) - state).norm(dim=-1).mean(dim=0)[1:].tolist()
            for reader, read in readers.items()
            for kind, z in latents.items()
        },
        **({} if uncertainty is None else {"uncertainty": uncertainty.mean(dim=0).tolist()}),
    }
