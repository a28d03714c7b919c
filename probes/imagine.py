"""What a world model imagines, beside what happened.

E episodes, K imagined steps; each step is a block of `frame_skip` recorded actions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from jepa_wm.data import BrokenSample, Episode, EpisodeShards
from jepa_wm.data.broken import BrokenList
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, write_json
from jepa_wm.world_model import WorldModel
from probes.features import Rows, encode
from probes.linear import Split, r_squared, ridge

EPISODES = 4
GUTTER = 2
SCALE = 2


class Imagination(NamedTuple):
    """Real and imagined futures of E episodes; column 0 is the frame that was seen, in both.

    Attributes:
        frames: real frames, uint8 (E, K+1, C, H, W).
        state: their states, (E, K+1, P).
        real: their latents, (E, K+1, D).
        imagined: latents imagined from frame 0 and the recorded actions, (E, K+1, D).
    """

    frames: Tensor
    state: Tensor
    real: Tensor
    imagined: Tensor


def write_imagination(folder: Path, model: WorldModel, shards: EpisodeShards, rows: dict[str, Rows]) -> None:
    """Write `imagination.png` and `drift.json` of the episodes of `shards` to `folder`.

    In the picture each of four episodes has two rows: the real frames, and below them the training
    frames whose latents are nearest to the imagined ones.

    Args:
        folder: where to write.
        model: the world model.
        shards: held-out episodes.
        rows: "train" is searched for frames and fits the position probe, whose penalty "val" chooses.

    Raises:
        UserError: if no block of actions fits into the shortest episode, or all are broken.
    """
    train, val = (encode(model.encoder, rows[split].pixels) for split in ("train", "val"))
    imagination = roll_out(model, shards)
    read = position_reader((train, rows["train"].state), (val, rows["val"].state))
    write_json(folder / "drift.json", {"frame_skip": model.dynamics.frame_skip, **drift(imagination, read)})
    shown = imagination.imagined[:EPISODES, 1:]
    found = rows["train"].pixels[nearest(shown.flatten(0, 1), train)].unflatten(0, shown.shape[:2])
    real = imagination.frames[:EPISODES]
    picture = compare(real, torch.cat([real[:, :1], found], dim=1))
    with atomic_path(folder / "imagination.png") as aside:
        picture.save(aside, "png")


@torch.no_grad()
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
    real = encode(model.encoder, frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    future = model.imagine(frames[:, 0], actions.reshape(len(episodes), steps, -1), clip=True).latents.flatten(2)
    return Imagination(frames, state, real, torch.cat([real[:, :1], future], dim=1))


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


def position_reader(train: Split, val: Split) -> Callable[[Tensor], Tensor]:
    """A ridge probe, fitted on `train` and its penalty chosen on `val`: latents (..., D) -> states (..., P)."""
    (x, y), (val_x, val_y) = ((part.double() for part in split) for split in (train, val))
    centre, offset = x.mean(dim=0), y.mean(dim=0)
    weights = ridge(x - centre, y - offset)
    chosen = weights[r_squared((val_x - centre) @ weights + offset, val_y).mean(dim=-1).argmax()]
    return lambda latents: (latents.double() - centre) @ chosen + offset


def drift(imagination: Imagination, read: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """How far imagination strays at each step, as means over episodes.

    `latent_error` is the squared distance of imagined from real latents, `still_error` that of frame
    0's latent, `relative_error` their ratio: below 1 the model knows more than that nothing changes.
    `position_error` is the distance, in the state's units, of the position that `read` finds in the
    imagined latents; `position_error_real` is the same of the real latents, the best that can be hoped
    for, and `position_error_still` that of frame 0's.

    Args:
        imagination: what was imagined.
        read: latents (..., D) to states (..., P).
    """
    _, state, real, imagined = imagination
    still = real[:, :1].expand_as(real)
    error, baseline = ((other - real).square().sum(dim=-1).mean(dim=0)[1:] for other in (imagined, still))
    positions = {"": imagined, "_real": real, "_still": still}
    distances = {name: (read(z) - state).norm(dim=-1).mean(dim=0)[1:].tolist() for name, z in positions.items()}
    return {
        "episodes": len(state),
        "step": list(range(1, state.shape[1])),
        "latent_error": error.tolist(),
        "still_error": baseline.tolist(),
        "relative_error": (error / baseline.clamp(min=torch.finfo(torch.float32).tiny)).tolist(),
        **{f"position_error{name}": value for name, value in distances.items()},
    }


def nearest(queries: Tensor, gallery: Tensor) -> Tensor:
    """Index (m,) of the row of gallery (n, D) nearest to each query (m, D), by Euclidean distance."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatL2(gallery.shape[1])
    index.add(gallery.contiguous().numpy())
    return torch.from_numpy(index.search(queries.contiguous().numpy(), 1)[1][:, 0])


def compare(above: Tensor, below: Tensor) -> Image.Image:
    """Two films (E, T, C, H, W) as pairs of rows with white gutters, pixels doubled."""
    episodes, steps, channels, height, width = above.shape
    pairs = torch.stack([above, below], dim=1)
    canvas = torch.full((2 * episodes, steps, channels, height + GUTTER, width + GUTTER), 255, dtype=torch.uint8)
    canvas[..., :height, :width] = pairs.flatten(0, 1)
    sheet = canvas.permute(0, 3, 1, 4, 2).reshape(2 * episodes * (height + GUTTER), steps * (width + GUTTER), channels)
    picture = Image.fromarray(sheet[:-GUTTER, :-GUTTER].numpy())
    return picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.NEAREST)
