"""The few pieces of HTML that the page is made of; whatever is not `Markup` is escaped."""

import base64
from collections.abc import Iterable, Sequence
from html import escape as _escape
from pathlib import Path

STYLE = Path(__file__).with_name("style.css")
TYPES = {".png": "image/png", ".webp": "image/webp", ".gif": "image/gif", ".jpg": "image/jpeg"}


class Markup(str):
    """Text that is HTML already."""


def escape(value: object) -> Markup:
    """`value` as text in HTML, unless it is `Markup`."""
    return value if isinstance(value, Markup) else Markup(_escape(str(value)))


def join(parts: Iterable[object]) -> Markup:
    """One after the other."""
    return Markup("\n".join(map(escape, parts)))


def element(name: str, *content: object, **attributes: str) -> Markup:
    """`<name class="…">content</name>`; an attribute's trailing underscore is dropped, as in `class_`."""
    given = "".join(f' {key.rstrip("_")}="{_escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{given}>{join(content)}</{name}>")


def section(title: str, *content: object) -> Markup:
    """A section under a heading."""
    return element("section", element("h2", title), *content)


def note(text: object) -> Markup:
    """A paragraph in small grey type."""
    return element("p", text, class_="note")


def missing(what: str) -> Markup:
    """Says what a section would have needed."""
    return element("p", f"Not shown: {what}", class_="missing")


def table(header: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> Markup:
    """A table whose first `left` columns are words and the others numbers."""
    sides = ["left"] * left + ["right"] * (len(header) - left)
    head = [element("th", cell, class_=side, scope="col") for cell, side in zip(header, sides, strict=True)]
    body = [
        element("tr", *(element("td", cell, class_=side) for cell, side in zip(row, sides, strict=True)))
        for row in rows
    ]
    inner = element("table", element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", inner, class_="scroll")


def image(path: Path, alt: str) -> Markup:
    """An image file, inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return Markup(f'<img src="data:{TYPES[path.suffix]};base64,{data}" alt="{_escape(alt)}">')


def bar(value: float, bounds: Sequence[float] | None) -> Markup:
    """A fraction as a bar, its interval as a line over it."""
    fill = f'<i style="width:{100 * value:.1f}%"></i>'
    low, high = bounds or (value, value)
    line = f'<b style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></b>'
    return Markup(f'<span class="bar">{fill}{line}</span>')


def details(title: str, *content: object) -> Markup:
    """Folded until it is clicked."""
    return element("details", element("summary", title), *content)


def document(title: str, *content: object) -> str:
    """A page that needs no other file."""
    head = join(
        [
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", f"jepa_wm: {title}"),
            element("style", Markup(STYLE.read_text())),
        ]
    )
    page = element("html", element("head", head), element("body", element("main", *content)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"
