"""Samples that cannot be decoded: named, counted, and too many of them refused."""

import warnings

from jepa_wm.errors import UserError

SHOWN = 20


class BrokenSample(UserError):
    """A sample that cannot be decoded.

    Args:
        name: its shard and key.
        why: what is wrong with it.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name, self.why = name, why

    def __str__(self) -> str:
        return f"broken sample {self.name}: {self.why}"


class BrokenList:
    """The broken samples that were met in one source: each is warned of once, and too many stop the run.

    Args:
        source: where the samples come from, for messages.
        samples: how many it holds.
        limit: share of them that may be broken.

    Attributes:
        why: what is wrong with each, by its name.
    """

    def __init__(self, source: str, samples: int, limit: float = 1.0) -> None:
        self.source, self.samples, self.limit = source, samples, limit
        self.why: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.why)

    def add(self, error: BrokenSample) -> None:
        """Note a broken sample.

        Raises:
            UserError: if there are now too many, with a list of them.
        """
        if error.name in self.why:
            return
        self.why[error.name] = error.why
        warnings.warn(f"{error}; it is left out (of {self.source})", stacklevel=3)
        if len(self.why) > self.limit * self.samples:
            listed = "; ".join(f"{name}: {why}" for name, why in list(self.why.items())[:SHOWN])
            more = f"; and {len(self.why) - SHOWN} more" if len(self.why) > SHOWN else ""
            raise UserError(
                f"{len(self.why)} of the {self.samples} samples of {self.source} are broken, more than the "
                f"{self.limit:.1%} allowed (max_broken): {listed}{more}; `jepa-wm shards verify` lists all"
            )
