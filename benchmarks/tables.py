"""Markdown tables, and the sections of documents that commands write."""

from pathlib import Path
from typing import Any


def markdown(corner: str, rows: dict[str, dict[str, Any]]) -> str:
    """A table with a row for each name; the first row's keys are the columns."""
    columns = list(next(iter(rows.values())))
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(str(row[column]) for column in columns) + " |" for name, row in rows.items()]
    return "\n".join(lines)


def replace_section(path: Path, name: str, text: str) -> None:
    """Put `text` between the markers `<!-- name -->` and `<!-- /name -->` of a document.

    Raises:
        ValueError: if the document lacks the markers.
    """
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    document = path.read_text()
    before, found, rest = document.partition(opening)
    _, closed, after = rest.partition(closing)
    if not found or not closed:
        raise ValueError(f"{path} lacks the markers {opening} and {closing}")
    path.write_text(f"{before}{opening}\n{text}\n{closing}{after}")
