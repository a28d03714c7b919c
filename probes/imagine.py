"""What a world model imagines, beside what happened.

E episodes, K imagined steps; each step is a block of `frame_skip` recorded actions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jepa_wm.data import EpisodeShards
from jepa_wm.dynamics.heads import StateHead
from jepa_wm.files import atomic_path, write_json
from jepa_wm.world_model import WorldModel
from probes.drift import Stray, encode, read_film, stray
from probes.features import Rows
from probes.linear import Split, r_squared, ridge
from probes.strips import compare, decoded, nearest

EPISODES = 4

Reader = Callable[[Tensor], Tensor]
"""Latents (..., N, D) -> states (..., P)."""


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
    film = read_film(shards, model.dynamics.frame_skip)
    found = stray(model, film)
    read = position_reader((train.flatten(1), rows["train"].state), (val.flatten(1), rows["val"].state))
    readers = {"position": lambda latents: read(latents.flatten(-2)), **state_heads(model)}
    real, shown = film.pixels[:EPISODES], found.imagined[:EPISODES]
    near = nearest(shown.flatten(0, 1).flatten(1), train.flatten(1)).unflatten(0, shown.shape[:2])
    strips = {
        "real": real,
        "nearest": torch.cat([real[:, :1], rows["train"].pixels[near]], dim=1),
        **decoded(model, torch.cat([found.still[:EPISODES, :1], shown], dim=1), real.shape[-2:]),
    }
    result = {"frame_skip": model.dynamics.frame_skip, "rows": list(strips), **drift(found, film.state[:, 1:], readers)}
    write_json(folder / "drift.json", result)
    picture = compare(*strips.values())
    with atomic_path(folder / "imagination.png") as aside:
        picture.save(aside, "png")


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
def drift(found: Stray, state: Tensor, readers: dict[str, Reader]) -> dict[str, Any]:
    """How far imagination strays at each step, as means over episodes.

    `latent_error` is the squared distance of imagined from real latents, `still_error` that of the last seen frame's
    latent, `relative_error` their ratio: below 1 the model knows more than that nothing changes. `<reader>_error` is
    the distance, in the state's units, of the state that a reader finds in the imagined latents;
    `<reader>_error_real` is the same of the real latents, the best that can be hoped for, and `<reader>_error_still`
    that of the last seen frame's. `uncertainty` is there of an ensemble.

    Args:
        found: what was imagined.
        state: of the frames to come, (E, K, P).
        readers: what reads states, by name; "position" is the ridge probe.
    """
    real, imagined, still, uncertainty = found
    error, baseline = ((z - real).square().sum(dim=(-2, -1)).mean(dim=0) for z in (imagined, still))
    latents = {"": imagined, "_real": real, "_still": still}
    return {
        "episodes": len(state),
        "step": list(range(1, state.shape[1] + 1)),
        "latent_error": error.tolist(),
        "still_error": baseline.tolist(),
        "relative_error": (error / baseline.clamp(min=torch.finfo(torch.float32).tiny)).tolist(),
        **{
            f"{reader}_error{kind}": (read(z) - state).norm(dim=-1).mean(dim=0).tolist()
            for reader, read in readers.items()
            for kind, z in latents.items()
        },
        **({} if uncertainty is None else {"uncertainty": uncertainty.mean(dim=0).tolist()}),
    }
