"""Training episodes, one after the other."""

from collections.abc import Iterator

import numpy as np

from jepa_wm.data import BrokenSample, Episode, EpisodeShards
from jepa_wm.data.broken import BrokenList


def training_episodes(data: str, seed: int) -> Iterator[tuple[int, Episode]]:
    """Training episodes in random order, each with its number; broken ones are left out, and reported.

    Raises:
        UserError: if there are no such shards.
    """
    shards = EpisodeShards(data, "train")
    broken = BrokenList(str(shards), len(shards))
    for number in np.random.default_rng(seed).permutation(len(shards)).tolist():
        try:
            episode = shards[number]
        except BrokenSample as error:
            broken.add(error)
            continue
        yield number, episode
