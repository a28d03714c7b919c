"""`jepa-wm encode`: shards with what a trained encoder makes of their frames beside these."""

import io
from typing import Any

import numpy as np
import torch

from jepa_wm.allocator import keep_freed_memory
from jepa_wm.checkpoint import fingerprint, spec
from jepa_wm.contracts import Encoder
from jepa_wm.data.episodes import LATENTS, decode
from jepa_wm.data.folder import STAGES
from jepa_wm.data.importers.base import Item
from jepa_wm.data.verbs.packing import Making, Storage, plan, write_folder
from jepa_wm.data.verbs.stored import StoredSamples
from jepa_wm.encoders.frames import Frames, PooledFrames
from jepa_wm.encoders.load import load_encoder
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest
from jepa_wm.precision import mixed

CHUNK = 128
"""Frames that are encoded at once."""


class Encoded:
    """Episodes in shards, each with the latents of its frames, float16 (T, N, D), as one member more.

    Args:
        stored: the episodes.
        encoder: of the frames.
        frames: how they become latents.
    """

    kind = "episodes"

    def __init__(self, stored: StoredSamples, encoder: Encoder, frames: Frames) -> None:
        self.stored, self.encoder, self.frames = stored, encoder, frames
        self.device = next(encoder.parameters()).device

    def __len__(self) -> int:
        return len(self.stored)

    @torch.inference_mode()
    def __getitem__(self, index: int) -> Item:
        item = self.stored[index]
        pixels = torch.from_numpy(np.ascontiguousarray(decode(item.members, item.key).frames))
        with mixed(self.device.type):
            found = [self.frames(self.encoder, part[None].to(self.device))[0] for part in pixels.split(CHUNK)]
        latents = torch.cat(found).half().cpu().numpy()
        if not np.isfinite(latents).all():
            raise UserError(f"encode: the latents of episode '{item.key}' hold NaN, or numbers too large for float16")
        file = io.BytesIO()
        np.save(file, latents, allow_pickle=False)
        return Item(item.key, {**item.members, LATENTS: file.getvalue()})


def encode(model: str, data: str, out: str, frames: Frames | None = None, max_skipped: float = 0.01) -> None:
    """Encode every frame of a folder of episodes once, for dynamics that learn on an encoder that stays as it is.

    `data.latents: true` then reads latents in place of frames, which spares a training step all but the dynamics.
    Goes on where it was interrupted.

    Args:
        model: run folder whose encoder it is, or another name that `load_encoder` knows.
        data: folder of shards of episodes.
        out: folder for the same shards with latents.
        frames: how frames become latents; the encoder's pooled ones if none is given.
        max_skipped: share of the episodes that may be left out because they cannot be read.

    Raises:
        UserError: if the folders are no good, or `frames` learns, or reads the state.
    """
    keep_freed_memory()
    frames = frames or PooledFrames()
    if frames.state_dim or list(frames.parameters()):
        raise UserError(
            f"encode.frames: got {type(frames).__name__}, which reads the state or learns with the dynamics; expected "
            "what makes latents of pixels alone, PooledFrames or PatchFrames"
        )
    manifest = read_manifest(data, *STAGES)
    parts = [(data, name) for name, split in manifest["splits"].items() if split["samples"]]
    stored = StoredSamples(parts, [""] * len(parts))
    if stored.kind != "episodes":
        raise UserError(f"encode: {data} holds {stored.kind}; expected episodes")
    encoder = load_encoder(model).to("cuda" if torch.cuda.is_available() else "cpu").eval().requires_grad_(False)
    encoded_by = fingerprint([encoder, frames])
    config: dict[str, Any] = {"data_hash": manifest["data_hash"], "encoded_by": encoded_by, "frames": spec(frames)}
    splits = {name: stored.range_of(part) for part, (_, name) in enumerate(parts)}
    per_shard = max(record["samples"] for split in manifest["splits"].values() for record in split["shards"])
    making = Making("encode", config, {**stored.kept, "encoded_by": encoded_by})
    write_folder(
        out, making, Encoded(stored, encoder, frames), plan(splits, per_shard), Storage(max_skipped=max_skipped)
    )
