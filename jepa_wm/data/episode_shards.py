"""Read whole episodes from shards."""

from collections.abc import Sequence
from pathlib import Path

from jepa_wm.data.cache import Cache
from jepa_wm.data.episodes import METADATA, Episode, decode
from jepa_wm.data.footage import Recorded
from jepa_wm.data.shards import Shards
from jepa_wm.errors import UserError


class EpisodeShards(Shards):
    """Shards of episodes: `shards[number] -> Episode`, decoded whole.

    Args:
        source: as of `Shards`.
        split: as of `Shards`.
        cache: as of `Shards`.

    Raises:
        UserError: as of `Shards`, or if the shards hold something else.
    """

    def __init__(self, source: str | Path | Sequence[str], split: str = "train", cache: Cache | None = None) -> None:
        super().__init__(source, split, cache)
        if self.manifest and self.manifest.get("kind") != "episodes":
            raise UserError(f"{self} holds {self.manifest.get('kind')}; expected episodes")

    def __getitem__(self, number: int) -> Episode:
        """Decode one episode.

        Raises:
            BrokenSample: if it is not what `jepa_wm.data.episodes` writes.
        """
        return self.parsed(number, lambda members: decode(members, self.key(number), self.form))

    def recorded(self, number: int) -> Recorded:
        """What was recorded in an episode beside its frames, which are not read.

        Raises:
            BrokenSample: as decoding it does.
        """
        return self.parsed(number, lambda members: Recorded(members, self.form), *METADATA)

    def key(self, number: int) -> str:
        """The name of an episode."""
        return self.name(number).partition(":")[2]
