"""Which samples are long enough."""

import warnings

import numpy as np

from jepa_wm.data.shards import Shards
from jepa_wm.errors import UserError


def long_enough(shards: Shards, frames: int, taken: str) -> np.ndarray:
    """The numbers of the samples of so many frames or more; those that are left out are counted in a warning.

    Args:
        shards: of episodes or videos.
        frames: how many are needed.
        taken: what needs them, such as "a clip of 4 frames 5 apart takes".

    Raises:
        UserError: if all samples are too short.
    """
    lengths, kind = shards.lengths(), (shards.manifest or {}).get("kind", "samples")
    needed = f"shorter than {frames} frames, which {taken}"
    if not (lengths >= frames).any():
        raise UserError(
            f"all {len(shards)} {kind} of {shards} are {needed}; the longest has {max(lengths)}: lower frames or "
            "frame_skip, or use longer ones"
        )
    # Length 0 stands for metadata that cannot be read: the reader will say what is wrong with them.
    usable = np.flatnonzero((lengths >= frames) | (lengths == 0))
    if short := len(shards) - len(usable):
        warnings.warn(f"{short} of {len(shards)} {kind} of {shards} are {needed}, and skipped", stacklevel=3)
    return usable
