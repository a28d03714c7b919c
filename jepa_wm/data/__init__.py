"""Shards: write, index, read, mix and cut into clips."""

from jepa_wm.data.broken import BrokenSample
from jepa_wm.data.clips import Clips
from jepa_wm.data.episode_shards import EpisodeShards
from jepa_wm.data.episodes import Episode
from jepa_wm.data.images import Images
from jepa_wm.data.loader import Loader
from jepa_wm.data.mixture import Mixture
from jepa_wm.data.shards import Shards
from jepa_wm.data.writer import ShardWriter

__all__ = [
    "BrokenSample",
    "Clips",
    "Episode",
    "EpisodeShards",
    "Images",
    "Loader",
    "Mixture",
    "ShardWriter",
    "Shards",
]
