"""Cut clips from episodes and videos, several from each that is decoded."""

import numpy as np

from jepa_wm.data.canvas import Allocate, allocate
from jepa_wm.data.episodes import LATENTS, METADATA
from jepa_wm.data.footage import open_footage
from jepa_wm.data.images import transformed
from jepa_wm.data.lengths import long_enough
from jepa_wm.data.randomness import generator
from jepa_wm.data.samples import Row, Samples
from jepa_wm.data.shards import Shards
from jepa_wm.data.transforms import Transform
from jepa_wm.errors import UserError


class Clips(Samples):
    """Clips of episodes or videos; none crosses the end of one.

    A row has `pixels` uint8 (T, C, H, W), `index` int64 (2,), the sample and the first frame, and the facts
    of its `Footage`: of an episode `actions` float32 (T-1, frame_skip * A), `reward` float32 (T-1,), the sum over
    the frame skip, `state` float32 (T, P), `captions`, T sentences, and where it is known `ends` float32 (T-1,); of a
    video `captions` and `labels`. With `pad` it has `valid`, bool (T,), too; with `latents` it has these, float32
    (T, N, D), in place of `pixels`.

    Args:
        shards: of episodes or videos.
        frames: frames T of a clip.
        frame_skip: steps between two of its frames.
        clips: clips cut from one sample that is decoded: a function of seed, epoch and sample.
        transform: of uint8 (T, C, H, W), the same for all frames of a clip.
        pad: whether samples too short for a clip are used and their last frame repeated, where `valid` is
            false; else they are left out.
        latents: read what `jepa-wm encode` put beside the frames, and not the frames.

    Raises:
        UserError: if a number is below 1, no sample is long enough, or latents are asked for that are not there, or
            to be transformed.
    """

    def __init__(
        self,
        shards: Shards,
        frames: int,
        frame_skip: int = 1,
        clips: int = 1,
        transform: Transform | None = None,
        pad: bool = False,
        latents: bool = False,
    ) -> None:
        if min(frames, frame_skip, clips) < 1:
            raise UserError(f"frames is {frames}, frame_skip {frame_skip}, clips {clips}; expected at least 1 each")
        self.frames, self.frame_skip, self.rows, self.transform, self.pad = frames, frame_skip, clips, transform, pad
        self.span, self.form, self.latents = (frames - 1) * frame_skip, shards.form, latents
        if latents and "encoded_by" not in (shards.manifest or {}):
            raise UserError(f"{shards} has no latents of its frames; `jepa-wm encode` makes shards that have")
        if latents and transform:
            raise UserError(f"{shards}: latents are read, and a transform is for pixels; leave out one of the two")
        taken = f"a clip of {frames} frames {frame_skip} apart takes"
        super().__init__(shards, None if pad else long_enough(shards, self.span + 1, taken))

    def load(self, seed: int, epoch: int, number: int, new: Allocate) -> list[Row]:
        """See `Samples.load`."""
        members = self.shards.members(number, *((*METADATA, LATENTS) if self.latents else ()))
        try:
            rows = self._cut(
                members, number, generator("clips", seed, epoch, number), allocate if self.transform else new
            )
        # Hostile bytes make the parsers raise nearly anything; none of it may end a run.
        except Exception as error:
            raise self.shards.broken(number, error) from error
        if self.transform:
            for clip, row in enumerate(rows):
                row |= transformed(self.transform, row["pixels"], seed, epoch, number, clip)
        return rows

    def _cut(self, members: dict[str, bytes], number: int, random: np.random.Generator, new: Allocate) -> list[Row]:
        footage = open_footage(members, self.form)
        starts = self._starts(footage.frames, random)
        times = starts[:, None] + np.arange(0, self.span + 1, self.frame_skip)
        # Clips may overlap: each frame is decoded once.
        at, places = np.unique(np.minimum(times, footage.frames - 1), return_inverse=True)
        shown = footage.shown(at.tolist())
        rows = [
            {footage.shows: _picked(shown, place, new), "index": (number, int(own[0])), **footage.facts(own)}
            for place, own in zip(places.reshape(times.shape), times, strict=True)
        ]
        if self.pad:
            for row, own in zip(rows, times, strict=True):
                row["valid"] = own < footage.frames
        return rows

    def _starts(self, length: int, random: np.random.Generator) -> np.ndarray:
        room = length - self.span
        if room < 1:
            if not self.pad:
                raise ValueError(f"it has {length} frames; a clip takes {self.span + 1}")
            return np.zeros(self.rows, np.int64)
        return random.choice(room, self.rows, replace=room < self.rows)


def _picked(shown: np.ndarray, places: np.ndarray, new: Allocate) -> np.ndarray:
    # Memory is given for pixels; latents are small.
    out = new((len(places), *shown.shape[1:])) if shown.dtype == np.uint8 else None
    return np.take(shown, places, axis=0, out=out, mode="clip")
