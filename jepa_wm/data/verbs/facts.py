"""What is told of a set of samples as they pass: which members, which size, which actions and states."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jepa_wm.data.episodes import read_arrays, read_header
from jepa_wm.data.images import EXTENSIONS as IMAGES
from jepa_wm.data.images import image_size
from jepa_wm.data.moments import Moments
from jepa_wm.data.video import EXTENSIONS as VIDEOS
from jepa_wm.data.video import Video
from jepa_wm.errors import UserError


class Facts(NamedTuple):
    """Of samples; those of parts merge into those of the whole.

    Attributes:
        members: how many samples have each member, by extension.
        sizes: heights and widths of their pictures, two at most: more than one is "several".
        moments: of `action` and `state`, if they are episodes.
    """

    members: dict[str, int] = {}  # noqa: RUF012
    sizes: tuple[tuple[int, int], ...] = ()
    moments: dict[str, Moments] = {}  # noqa: RUF012

    @property
    def frame_shape(self) -> list[int] | None:
        """[3, H, W] if all pictures are of one size."""
        return [3, *self.sizes[0]] if len(self.sizes) == 1 else None

    @classmethod
    def merge(cls, parts: Iterable["Facts"]) -> "Facts":
        """The facts of all parts together.

        Raises:
            UserError: if the actions or states of two parts differ in width.
        """
        members: Counter[str] = Counter()
        sizes: list[tuple[int, int]] = []
        moments: dict[str, Moments] = {}
        for part in parts:
            members.update(part.members)
            sizes += [size for size in part.sizes if size not in sizes]
            for name, own in part.moments.items():
                moments[name] = _merged(name, moments.get(name, Moments()), own)
        return cls(dict(sorted(members.items())), tuple(sizes[:2]), moments)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        moments = {
            name: [part.rows, np.asarray(part.mean).tolist(), np.asarray(part.deviation).tolist()]
            for name, part in self.moments.items()
        }
        return {"members": self.members, "sizes": self.sizes, "moments": moments}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Facts":
        """What `to_json` gave."""
        moments = {
            name: Moments(rows, np.array(mean), np.array(deviation))
            for name, (rows, mean, deviation) in record["moments"].items()
        }
        return cls(record["members"], tuple((height, width) for height, width in record["sizes"]), moments)


def _merged(name: str, one: Moments, other: Moments) -> Moments:
    if one.rows and other.rows and np.shape(one.mean) != np.shape(other.mean):
        raise UserError(f"{name}s of {len(one.mean)} and of {len(other.mean)} columns do not go into one set of shards")
    return one.merge(other)


def facts_of(members: dict[str, bytes]) -> Facts:
    """The facts of one sample, given the contents of its members by extension.

    Raises:
        UserError: if it is no sample that can be read.
    """
    counts = dict.fromkeys(members, 1)
    try:
        if any(extension.startswith("frames.") for extension in members):
            header = read_header(members)
            actions, state, _ = read_arrays(members, header.frames)
            moments = {"action": Moments.of(actions), "state": Moments.of(state)}
            return Facts(counts, ((header.height, header.width),), moments)
        if video := next((members[extension] for extension in VIDEOS if extension in members), None):
            film = Video(video)
            return Facts(counts, ((film.height, film.width),))
        if any(extension in members for extension in IMAGES):
            return Facts(counts, (image_size(members),))
    # Whatever the parsers raise on broken bytes, the sample is one that cannot be used.
    except Exception as error:
        raise UserError(f"it cannot be read: {error}") from error
    raise UserError(f"it is neither an episode nor a video nor an image; its members are {sorted(members)}")


def kind_of(extensions: Iterable[str]) -> str | None:
    """What a sample with such members is: "episodes", "videos", "images", or None of these."""
    extensions = set(extensions)
    if any(extension.startswith("frames.") for extension in extensions):
        return "episodes"
    if extensions & set(VIDEOS):
        return "videos"
    return "images" if extensions & set(IMAGES) else None
