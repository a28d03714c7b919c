"""Captions of an image, one or several, as they are stored."""

import json
from typing import Any

import pytest

from jepa_wm.data.images import captions_of


@pytest.mark.parametrize(
    ("caption", "about", "expected"),
    [
        ("a cat", None, ["a cat"]),
        ("a cat", {"caption": ["a cat", "it sleeps"]}, ["a cat", "it sleeps"]),
        # Whatever the column was called; blanks are no captions.
        (
            "ein Kätzchen",
            {"tags": ["cat"], "said": ["ein Kätzchen", " ", "es schläft"]},
            ["ein Kätzchen", "es schläft"],
        ),
        # Other lists, and what merely looks like one, are none of it.
        ("a cat", {"tags": ["cat", "sofa"], "caption": "a cat"}, ["a cat"]),
        ("a cat", {"caption": ["a cat", 3]}, ["a cat"]),
        ("a cat", ["a cat", "it sleeps"], ["a cat"]),
        (None, {"caption": ["", ""]}, [""]),
        (None, None, [""]),
    ],
)
def test_captions(caption: str | None, about: Any, expected: list[str]) -> None:
    members = {} if caption is None else {"txt": caption.encode()}
    members |= {} if about is None else {"json": json.dumps(about).encode()}
    assert captions_of(members) == expected
