"""What an importer is: samples of another format, by number."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from jepa_wm.data.episodes import Episode


class Item(NamedTuple):
    """A sample as the members of a tar, for what is kept as it is.

    Attributes:
        key: its name: letters, digits, `-` and `_`.
        members: their contents, by extension.
    """

    key: str
    members: dict[str, bytes]


class Importer(ABC):
    """Samples of another format, by number, so that they can be packed in any order and in parallel.

    A subclass takes plain values (strings, numbers, booleans, lists of them) and keeps them as attributes
    of the same names: they are recorded as its provenance, and it is pickled to other processes. Files are
    opened on first use, in each process.

    Attributes:
        kind: "images", "videos" or "episodes".
    """

    kind: str

    @abstractmethod
    def __len__(self) -> int:
        """Samples of the source."""

    @abstractmethod
    def __getitem__(self, index: int) -> Item | Episode:
        """Read one sample.

        Raises:
            UserError: naming the file, if it cannot be read; the sample is then skipped and listed.
        """
