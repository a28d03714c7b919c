"""What could not be measured: it is said, and the rest goes on."""

from collections.abc import Iterator
from contextlib import contextmanager

from jepa_wm.errors import UserError

NAMED = 3
"""Measurements that are named of those with one reason."""


class LeftOut:
    """Measurements that were refused, by the reason: one collapsed checkpoint must not cost hours of others."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        """Within this, a refusal ends the block and is noted as that of `what`."""
        try:
            yield
        except UserError as error:
            self._found.setdefault(str(error), []).append(what)

    def sentences(self) -> list[str]:
        """One for each reason."""
        said = []
        for reason, whats in self._found.items():
            more = f" and {len(whats) - NAMED} more" if len(whats) > NAMED else ""
            said.append(f"left out: {', '.join(whats[:NAMED])}{more}: {reason}")
        return said
