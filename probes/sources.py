"""Where features come from, by name.

| name | what it is |
|---|---|
| any name of `load_encoder` | an encoder: `timm:NAME`, `open_clip:NAME`, `hf:NAME`, a raw checkpoint, a run |
| `runs/x@PART` | another part than the encoder: `@teacher`, `@target`, `@context` |
| `runs/x@*` | every checkpoint of the run, by step |
| `NAME:text` | the text tower of a run, of `open_clip:…` or of `hf:…`, on the frames' captions |
| `runs/x:world` | what a world model's dynamics is given of a frame |
| `random:NAME` | any of these with fresh weights |
| `state`, `factors`, `pixels` | the true state; that and every factor of variation; raw pixels |
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from jepa_wm import checkpoint
from jepa_wm.complaint import nearest
from jepa_wm.encoders import OpenClipEncoder, OpenClipText, TimmEncoder, load_encoder, load_text, load_text_tower
from jepa_wm.encoders.load import KINDS
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest
from jepa_wm.world_model import WorldModel
from probes.draw import kind_of, of_several_sizes
from probes.fresh import fresh
from probes.pictures import TO_ONE_SIZE
from probes.readers import EncoderReader, FactorReader, PixelReader, Reader, StateReader, TextReader, WorldReader
from probes.run import find_checkpoints
from probes.store import model_name, titled

DATA = {"state": StateReader, "factors": FactorReader, "pixels": PixelReader}
EPISODES_ALONE = ("state", "factors", "world")
"""What needs more than pictures, labels and captions."""
READINGS = ("text", "world")
RANDOM = "random"


class Source(NamedTuple):
    """One set of weights, or none, that features are made by.

    Attributes:
        model: its name, the same for all steps of a run.
        step: of training; None for a run's end, and where there are no steps.
        base: what is loaded: a name of `load_encoder`, "state", "factors" or "pixels".
        part: of what is loaded, as of `load_encoder`.
        reading: "text", "world", or "" for the encoder.
        seed: of the weights, which are then fresh; None for those that were trained.
    """

    model: str
    step: int | None
    base: str
    part: str | None = None
    reading: str = ""
    seed: int | None = None

    @property
    def titled(self) -> str:
        """Model and step, for messages."""
        return titled(self.model, self.step)

    def load(self) -> Reader:
        """What reads rows.

        Raises:
            UserError: if it cannot be loaded.
        """
        if self.base in DATA:
            return DATA[self.base]()
        # Weights that are loaded take the place of random ones, which are drawn first.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed or 0)
            return self._reader(anew=self.seed is not None)

    def _reader(self, anew: bool) -> Reader:
        if self.reading == "world":
            model = WorldModel.from_pretrained(self.base)
            if anew:
                model.encoder, model.frames = _anew(model.encoder), _anew(model.frames)
            return WorldReader(model)
        kind, _, name = self.base.partition(":")
        known = FRESH.get((kind, self.reading)) if anew and "@" not in name else None
        module: Any = known(*name.split(":")).eval() if known else self._trained()
        if anew and not known:
            module = _anew(module)
        if self.reading == "text":
            return TextReader(module, f"the text tower of {self.base}" + " with fresh weights" * anew)
        return EncoderReader(module, resize=not _is_run(self.base))

    def _trained(self) -> nn.Module:
        if self.reading != "text":
            return load_encoder(self.base, self.part)
        return load_text(self.base) if _is_run(self.base) else load_text_tower(self.base)


FRESH = {("timm", ""): TimmEncoder, ("open_clip", ""): OpenClipEncoder, ("open_clip", "text"): OpenClipText}
"""What can be built by name alone, so that its trained weights need not be fetched only to be thrown away."""


def find_sources(name: str, steps: str = "last", seed: int = 0) -> list[Source]:
    """The sources that a name stands for, in the order of their steps; nothing is loaded yet.

    Args:
        name: see above.
        steps: "all" for every checkpoint of a run, as `@*` says, too; "last" for its end.
        seed: of fresh weights.

    Raises:
        UserError: if there is nothing of this name, or it has no steps and they are asked for.
    """
    name = model_name(name)
    if name in DATA:
        return [Source(name, None, name)]
    anew, base = name.startswith(f"{RANDOM}:"), name.removeprefix(f"{RANDOM}:")
    stem, _, reading = base.rpartition(":")
    base, reading = (stem, reading) if stem and reading in READINGS else (base, "")
    part, every = "", False
    if base.partition(":")[0] in KINDS:
        _check_kind(base, reading, name)
    else:
        base, _, part = base.partition("@")
        part, every = "" if part == "*" else part, part == "*"
        _check_path(base, reading, part, name)
    model = f"{RANDOM}:" * anew + base + f"@{part}" * bool(part) + f":{reading}" * bool(reading)
    start = seed if anew else None
    if every or (steps == "all" and not anew and _is_run(base)):
        if anew:
            raise UserError(f"'{name}': fresh weights have no steps of training; expected '{model}'")
        return [
            Source(model, step, str(path), part or None, reading)
            for step, path in find_checkpoints(base, read_manifest(base)["stage"])
        ]
    return [Source(model, None, base, part or None, reading, start)]


def check_sources(sources: Iterable[Source], data: str, size: int | None = None) -> None:
    """Ask for sources of what there is in the shards of the folder `data`, before anything is made.

    Raises:
        UserError: if one needs what episodes alone have, or images of one size, and there are none.
    """
    kind = kind_of(data)
    if kind == "episodes":
        return
    several = size is None and of_several_sizes(data)
    for source in sources:
        if several and (source.base == "pixels" or (_is_run(source.base) and not source.reading)):
            raise UserError(f"'{source.model}': {data} holds images of several sizes; {TO_ONE_SIZE}")
        if {source.base, source.reading} & set(EPISODES_ALONE):
            raise UserError(
                f"'{source.model}' needs episodes, and {data} holds {kind}; leave it out, or give shards of episodes: "
                f"of {kind} there are encoders, 'NAME:text' on their captions and 'pixels'"
            )


def fingerprint(source: Source, reader: Reader) -> str:
    """SHA-256 over the configuration and the weights of what reads."""
    return checkpoint.fingerprint(reader.parts, source.base if not reader.parts else "")


def _anew(module: Any) -> Any:
    made = fresh(module)
    made.source = "fresh weights"
    return made


def _is_run(base: str) -> bool:
    return any((Path(base) / name).is_dir() for name in ("model", "checkpoints", "encoder"))


def _check_kind(base: str, reading: str, name: str) -> None:
    kind, _, rest = base.partition(":")
    if not rest:
        raise UserError(f"'{name}' lacks a name; expected '{kind}:NAME'")
    if reading == "world" or (reading == "text" and kind == "timm"):
        has = "no world models" if reading == "world" else "no text towers"
        raise UserError(f"'{name}': {kind} has {has}; expected '{base}', or a run with ':{reading}'")


def _check_path(base: str, reading: str, part: str, name: str) -> None:
    if not base or not Path(base).exists():
        words = [*DATA, RANDOM, *KINDS]
        raise UserError(
            f"'{name}' names no file, folder or kind of source{nearest(base.partition(':')[0], words)}; expected a "
            f"name of load_encoder, {', '.join(DATA)}, '{RANDOM}:NAME', 'NAME:text' or 'RUN:world'"
        )
    if reading and part:
        raise UserError(f"'{name}': got the part '@{part}' and ':{reading}'; expected one of them")
    if reading and not _is_run(base):
        raise UserError(f"'{name}': {base} is no run of this package; expected one for ':{reading}'")
