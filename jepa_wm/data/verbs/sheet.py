"""A contact sheet: some samples of shards on one picture."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from jepa_wm.data.footage import open_footage
from jepa_wm.data.images import decode_image
from jepa_wm.data.randomness import generator
from jepa_wm.data.shards import Shards
from jepa_wm.data.verbs.facts import kind_of
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path

TILE = 128
GUTTER = 8
TEXT = 30
FRAMES = 6
"""Frames of an episode or a video in its row."""
COLUMNS = 6
LETTERS = 21
"""Letters of the built-in font beside each other on a tile."""


def draw_sheet(path: Path, splits: list[Shards], samples: int, seed: int) -> int:
    """Draw samples, as many of each split as its share, on a sheet; broken ones are left out and counted.

    Images are tiles with their captions or classes beneath; an episode or a video is a row of frames.
    """
    rows: list[list[tuple[np.ndarray, str]]] = []
    broken = 0
    for shards in splits:
        count = max(1, round(samples * len(shards) / sum(map(len, splits))))
        drawn = generator("sheet", seed).permutation(len(shards))[:count]
        for number in sorted(drawn.tolist()):
            try:
                rows.append(_tiles(shards, number))
            except UserError:
                broken += 1
    if not rows:
        raise UserError("none of the samples drawn can be decoded; `jepa-wm shards verify` says why")
    with atomic_path(path) as aside:
        _draw(list(_rows_of(rows))).save(aside, "png")
    return broken


def _tiles(shards: Shards, number: int) -> list[tuple[np.ndarray, str]]:
    members = shards.members(number)
    name = shards.name(number).partition(":")[2]
    try:
        if kind_of(members) == "images":
            return [(decode_image(members), _label(members) or name)]
        footage = open_footage(members, shards.form)
        times = np.unique(np.linspace(0, footage.frames - 1, FRAMES).astype(np.int64))
        captions = [footage.facts(np.array([time]))["captions"][0] for time in times]
        pixels = footage.shown(times.tolist())
        return [(frame, text or f"{name} {time}") for frame, text, time in zip(pixels, captions, times, strict=True)]
    # Hostile bytes make the decoders raise nearly anything.
    except Exception as error:
        raise shards.broken(number, error) from error


def _label(members: dict[str, bytes]) -> str:
    """An image's caption, else the name or the number of its class."""
    if "txt" in members:
        return members["txt"].decode()
    name = json.loads(members.get("json", b"{}")).get("class")
    return str(name) if name else f"class {members['cls'].decode()}" if "cls" in members else ""


def _rows_of(rows: list[list[tuple[np.ndarray, str]]]) -> Iterator[list[tuple[np.ndarray, str]]]:
    """Single tiles beside each other, several as a row of their own."""
    single = [row[0] for row in rows if len(row) == 1]
    yield from (row for row in rows if len(row) > 1)
    yield from (single[start : start + COLUMNS] for start in range(0, len(single), COLUMNS))


def _draw(rows: list[list[tuple[np.ndarray, str]]]) -> Image.Image:
    width = GUTTER + max(map(len, rows)) * (TILE + GUTTER)
    sheet = Image.new("RGB", (width, GUTTER + len(rows) * (TILE + TEXT + GUTTER)), "white")
    pen = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        top = GUTTER + y * (TILE + TEXT + GUTTER)
        for x, (pixels, text) in enumerate(row):
            left = GUTTER + x * (TILE + GUTTER)
            # Small pictures are enlarged without smoothing, so that one sees their pixels.
            method = Image.Resampling.NEAREST if max(pixels.shape[:2]) < TILE else Image.Resampling.LANCZOS
            sheet.paste(ImageOps.pad(Image.fromarray(pixels), (TILE, TILE), method, color="#eeeeee"), (left, top))
            lines = textwrap.wrap(" ".join(text.split()), LETTERS, max_lines=2, placeholder="…")
            pen.multiline_text((left, top + TILE + 2), "\n".join(lines), fill="black", spacing=2)
    return sheet
