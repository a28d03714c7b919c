"""Shards of episodes: write, index, read, and cut into clips."""

from jepa_wm.data.episodes import BrokenSample, Episode
from jepa_wm.data.loader import ClipLoader
from jepa_wm.data.shards import EpisodeShards
from jepa_wm.data.writer import ShardWriter

__all__ = ["BrokenSample", "ClipLoader", "Episode", "EpisodeShards", "ShardWriter"]
