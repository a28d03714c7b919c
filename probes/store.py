"""Features on disk: rows once, and beside them what each model, step, layer and pooling makes of them.

manifest.json               which shards, which draw of frames, and the hash of each split's rows
rows/SPLIT.npz              what is true of the rows, in their order
MODEL/STEP/record.json      the weights' hash, and an entry for each array that is whole
MODEL/STEP/SPLIT/LAYER.POOLING.npy
"""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, read_json, write_json
from jepa_wm.manifest import is_complete, read_manifest, write_manifest
from probes.features import Rows
from probes.levels import EMBED, LATENT, VECTOR

STAGE = "features"
RECORD = "record.json"
FACTOR = "factor."


class StoreRows(NamedTuple):
    """What is true of a split's n rows.

    Attributes:
        ids: shard, episode and time of each; of images shard, key and the place of the caption.
        episode: int64 (n,), a number that no other split uses; of images that of the image.
        time: int64 (n,), of the frame in its episode, or of the caption among the image's.
        state: float32 (n, P).
        factors: float32 (n, k) by name.
        captions: n sentences.
        region: int64 (n,); None elsewhere than in the two rooms.
        labels: int64 (n,), -1 where there is none; None if there is none at all.
    """

    ids: list[str]
    episode: Tensor
    time: Tensor
    state: Tensor
    factors: dict[str, Tensor]
    captions: list[str]
    region: Tensor | None
    labels: Tensor | None = None


class Entry(NamedTuple):
    """One array of features.

    Attributes:
        model, step, layer, pooling, split: what it is of; the step is None for a run's end.
        n: rows.
        d: width.
        tokens: of a row, where they are not pooled; else None.
        rows: hash of the rows.
        weights: hash of the configuration and the weights.
        source: where these come from, in words.
    """

    model: str
    step: int | None
    layer: str
    pooling: str
    split: str
    n: int
    d: int
    tokens: int | None
    rows: str
    weights: str
    source: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return (self.n, self.d) if self.tokens is None else (self.n, self.tokens, self.d)


class FeatureStore:
    """Features that `jepa-wm probe extract` wrote.

    Args:
        folder: the store.

    Raises:
        UserError: if it is missing or unfinished, or something else.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(folder, STAGE)
        self._rows: dict[str, StoreRows] = {}

    def features(self, model: str, step: int | None, layer: str, pooling: str, split: str) -> Tensor:
        """Features float32 (n, d), of the pooling "tokens" (n, N, d), in the order of `rows(split)`.

        They stay on disk until they are read; in a store of float16 they are converted. A layer that is one vector,
        as "latent" mostly is, has no pooling: any that is asked for gives it.

        Raises:
            UserError: if the store has no such features, they are of other rows than its own, or broken.
        """
        own = [entry for entry in self.entries(model, step) if (entry.layer, entry.split) == (layer, split)]
        found = next((entry for entry in own if entry.pooling in (pooling, VECTOR)), None)
        if found is None:
            raise UserError(self._missing(model, step, layer, pooling, split))
        self.rows(split)
        if found.rows != self.manifest["rows"][split]:
            raise UserError(
                f"{self.folder}: layer {layer} of {titled(model, step)} is of other rows of '{split}' than the store; "
                f"delete {self.place(model, step)} and extract again"
            )
        return torch.from_numpy(_mapped(self.path(found), found.shape)).float()

    def layers(self, model: str, step: int | None = None, pooling: str | None = None) -> list[str]:
        """The layers of a model that are in the store, first to last; of one pooling if it is given."""
        found = {
            entry.layer for entry in self.entries(model, step) if pooling is None or entry.pooling in (pooling, VECTOR)
        }
        return sorted(found, key=_depth)

    def steps(self, model: str) -> list[int | None]:
        """The steps of a model that are in the store, ascending, a run's end last."""
        found = {entry.step for entry in self.entries() if entry.model == model_name(model)}
        return sorted(found, key=lambda step: (step is None, step or 0))

    def entries(self, model: str | None = None, step: int | None = None) -> list[Entry]:
        """All features of a model at a step, or, if no model is named, all there are."""
        named = [] if model is None else [self.place(model, step) / RECORD]
        records = named or sorted(self.folder.glob(f"*/*/{RECORD}"))
        return [entry for path in records if path.is_file() for entry in _entries(read_json(path))]

    def rows(self, split: str) -> StoreRows:
        """What is true of the rows of a split.

        Raises:
            UserError: if there is no such split, or its rows are not those that were written.
        """
        if split not in self.manifest["rows"]:
            raise UserError(f"{self.folder} has no split '{split}'; it has {', '.join(self.manifest['rows'])}")
        if split not in self._rows:
            self._rows[split] = _read_rows(self.folder / "rows" / f"{split}.npz", self.manifest["rows"][split])
        return self._rows[split]

    def place(self, model: str, step: int | None) -> Path:
        """The folder of a model at a step."""
        name = model_name(model)
        slug = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[-80:]
        short = hashlib.sha256(name.encode()).hexdigest()[:8]
        return self.folder / f"{slug}-{short}" / ("final" if step is None else f"step-{step:06d}")

    def path(self, entry: Entry) -> Path:
        """The file of features."""
        return self.place(entry.model, entry.step) / entry.split / f"{entry.layer}.{entry.pooling}.npy"

    def record(self, entries: list[Entry]) -> None:
        """Write that these entries of one model and step, and no others, are whole."""
        write_json(self.place(*entries[0][:2]) / RECORD, [entry._asdict() for entry in entries])

    def forget(self, model: str, step: int | None) -> None:
        """Write that nothing of a model at a step is whole; its files stay until others take their places."""
        (self.place(model, step) / RECORD).unlink(missing_ok=True)

    def _missing(self, model: str, step: int | None, *wanted: str) -> str:
        start = f"{self.folder} has no features of {titled(model, step)}"
        if steps := self.steps(model):
            if step not in steps:
                return f"{start}; it has the steps {', '.join(map(str, steps))}"
            places = {f"{entry.layer} {entry.pooling} {entry.split}" for entry in self.entries(model, step)}
            order = sorted(places, key=lambda place: (place.split()[2], _depth(place.split()[0]), place))
            return f"{start}, {' '.join(wanted)} (layer, pooling, split); it has {', '.join(order)}"
        models = sorted({entry.model for entry in self.entries()})
        return f"{start}; it has {', '.join(models) or 'none yet'}: jepa-wm probe extract adds models"


def model_name(model: str) -> str:
    """A model's name as the store has it: without the slash that a shell puts behind a folder."""
    return re.sub(r"/+(?=$|[:@])", "", model)


def open_store(folder: str | Path, rows: dict[str, Rows], identity: dict[str, Any]) -> FeatureStore:
    """The store of these rows, made if it is not there yet; the caller sees to it that nobody else makes it.

    Args:
        folder: of the store.
        rows: of each split.
        identity: what the store is of, JSON values by name.

    Raises:
        UserError: if the folder holds something else, or a store of other things.
    """
    folder = Path(folder)
    columns = {split: _columns(part) for split, part in rows.items()}
    hashes = {split: _hash(part) for split, part in columns.items()}
    if not is_complete(folder):
        strange = [path.name for path in folder.iterdir() if not path.name.startswith(".") and path.name != "rows"]
        if strange:
            raise UserError(f"{folder} holds other things than features ({strange[0]}); expected a folder of its own")
        with atomic_path(folder / "rows") as aside:
            aside.mkdir()
            for split, part in columns.items():
                np.savez(aside / f"{split}.npz", **part)  # type: ignore[arg-type]
        write_manifest(folder, STAGE, config=identity, rows=hashes)
    store = FeatureStore(folder)
    told = store.manifest["config"]
    differ = [f"{name} {told.get(name)}, not {value}" for name, value in identity.items() if told.get(name) != value]
    if not differ and store.manifest["rows"] != hashes:
        differ = ["other rows, though drawn alike: shards were split anew, or some episodes have broken since"]
    if differ:
        raise UserError(f"{folder} is a store of another draw: of {'; '.join(differ)}; give another 'out'")
    return store


def _entries(record: list[dict[str, Any]]) -> list[Entry]:
    return [Entry(**entry) for entry in record]


def _depth(layer: str) -> tuple[int, int]:
    return {EMBED: (0, 0), LATENT: (2, 0)}.get(layer) or (1, int(layer))


def titled(model: str, step: int | None) -> str:
    """A model at a step, for messages."""
    return f"'{model}'" + ("" if step is None else f" at step {step}")


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        # Copy on write: torch wants memory that can be written to, and the file must not change.
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete {path.parent.parent} and extract again") from error
    if array.shape != shape:
        raise UserError(
            f"{path} is {array.shape}; expected {shape} as recorded: delete {path.parent.parent} and extract again"
        )
    return array


def _columns(rows: Rows) -> dict[str, np.ndarray]:
    factors = {FACTOR + name: value.numpy() for name, value in sorted(rows.factors.items())}
    some = {name: value.numpy() for name in ("region", "labels") if (value := getattr(rows, name)) is not None}
    tensors = {name: getattr(rows, name).numpy() for name in ("episode", "time", "state")}
    return {"ids": np.array(rows.ids), "captions": np.array(rows.captions), **tensors, **some, **factors}


def _hash(columns: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, column in sorted(columns.items()):
        digest.update(f"{name} {column.dtype} {column.shape}".encode())
        digest.update(column.tobytes())
    return digest.hexdigest()


def _read_rows(path: Path, expected: str) -> StoreRows:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}); extract to another folder") from error
    if _hash(columns) != expected:
        raise UserError(f"{path} is not what was written: its rows are changed or in another order; extract anew")
    factors = {name.removeprefix(FACTOR): column for name, column in columns.items() if name.startswith(FACTOR)}
    tensors = {name: torch.from_numpy(column) for name, column in columns.items() if column.dtype.kind in "fi"}
    return StoreRows(
        ids=columns["ids"].tolist(),
        episode=tensors["episode"],
        time=tensors["time"],
        state=tensors["state"],
        factors={name: torch.from_numpy(column) for name, column in factors.items()},
        captions=columns["captions"].tolist(),
        region=tensors.get("region"),
        labels=tensors.get("labels"),
    )
