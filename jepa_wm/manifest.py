"""The manifest: what a run folder holds, how it was made, and that it is complete.

Each stage writes `manifest.json` last, so its presence means that the stage finished.
"""

import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jepa_wm.errors import UserError
from jepa_wm.files import read_json, write_json

FORMAT = 2
"""Raised when what is in older folders would be misread, or their weights would come to compute something else."""
NAME = "manifest.json"


def write_manifest(folder: str | Path, stage: str, **fields: Any) -> None:
    """Mark `folder` as a finished run of `stage`; `fields` are JSON values, `config` among them."""
    write_json(Path(folder) / NAME, {"format": FORMAT, "stage": stage, **provenance(), **fields})


@contextmanager
def stage_run(folder: str | Path, stage: str, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Time a run of `stage` and write the manifest if it succeeds; what the yielded dict gets goes in too.

    `sources` says which runs and models the settings named as the stage began.
    """
    start, sources = time.monotonic(), _sources(config)
    fields: dict[str, Any] = {}
    yield fields
    measured = {"seconds": round(time.monotonic() - start, 2), "peak_rss_gib": round(peak_rss_gib(), 3)}
    write_manifest(folder, stage, config=config, sources=sources, **measured, **fields)


def read_manifest(folder: str | Path, *stages: str) -> dict[str, Any]:
    """Read the manifest of a finished run.

    Raises:
        UserError: if the folder is missing, empty, unfinished, of another format, or of a stage
            that is not among `stages` (any stage is accepted if none is named).
    """
    folder = Path(folder)
    wanted = " or ".join(stages) or "any stage"
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; expected a run folder of {wanted}")
    if not (folder / NAME).is_file():
        state = "unfinished: it has no manifest.json" if any(folder.iterdir()) else "empty"
        raise UserError(f"{folder} is {state}; expected a finished run of {wanted}: run that stage first")
    return check_manifest(read_json(folder / NAME), folder, *stages)


def check_manifest(manifest: Any, folder: str | Path, *stages: str) -> dict[str, Any]:
    """The manifest found in `folder`, wherever that lies, if it is of this format and one of `stages`.

    Raises:
        UserError: if it is not.
    """
    wanted = " or ".join(stages) or "any stage"
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"the manifest of {folder} is not of format {FORMAT}; another version of jepa_wm made it")
    if stages and manifest.get("stage") not in stages:
        raise UserError(f"{folder} is a run of stage '{manifest.get('stage')}'; expected {wanted}")
    return manifest


def is_complete(folder: str | Path) -> bool:
    """Whether a stage has finished in `folder`."""
    return (Path(folder) / NAME).is_file()


def is_done(folder: str | Path, stage: str, config: dict[str, Any]) -> bool:
    """Whether `stage` has finished in `folder` with these settings, and from what they name now, which is then said.

    Raises:
        UserError: if another stage has, or this one with other settings, or from a run or a model that another one has
            taken the place of since.
    """
    if not is_complete(folder):
        return False
    manifest = read_manifest(folder, stage)
    check_same(manifest["config"], config, folder)
    _check_sources(manifest.get("sources", {}), config, folder)
    print(f"{folder} is complete already")
    return True


def check_same(there: dict[str, Any], config: dict[str, Any], folder: str | Path) -> None:
    """Refuse settings that differ from those which `folder` was made with; files and folders may have other names.

    Raises:
        UserError: if one does.
    """
    # As JSON gives it back, in which tuples are lists.
    config = json.loads(json.dumps(config))
    both = {*config, *there} - {"out"}
    if differing := sorted(name for name in both if _found(there.get(name)) != _found(config.get(name))):
        raise UserError(
            f"{folder} was made with other settings: {', '.join(f'{n}={there.get(n)!r}' for n in differing)}; "
            f"got {', '.join(f'{n}={config.get(n)!r}' for n in differing)}; name another folder or delete it"
        )


def _found(value: Any) -> Any:
    """A setting, in which the names of what is there on disk are its whole paths."""
    if isinstance(value, list):
        return [_found(one) for one in value]
    return str(Path(value).resolve()) if _is_there(value) else value


def _is_there(value: Any) -> bool:
    try:
        return isinstance(value, str | Path) and bool(str(value)) and Path(value).exists()
    except OSError:  # A sentence, longer than names can be.
        return False


def _check_sources(there: dict[str, list[str | None]], config: dict[str, Any], folder: str | Path) -> None:
    """Refuse what `folder` was not made from; of what is not there any more nothing is known."""
    now = _sources(config)
    for name in sorted(there.keys() & now.keys()):
        if any(was and found and was != found for was, found in zip(there[name], now[name], strict=False)):
            raise UserError(
                f"{folder} was made from what was there before as {name}={config[name]!r}, which has been made anew "
                "since; name another folder or delete it"
            )


def _sources(config: dict[str, Any]) -> dict[str, list[str | None]]:
    """Of each setting that names finished runs or saved models, what tells these from others of the same name."""
    named = {name: value if isinstance(value, list) else [value] for name, value in config.items() if name != "out"}
    found = {name: [identity(value) for value in values] for name, values in named.items()}
    return {name: identities for name, identities in found.items() if any(identities)}


def identity(value: Any) -> str | None:
    """SHA-256 of a run's data, else of its manifest; of a saved model's parts; None of anything else."""
    if not _is_there(value):
        return None
    folder, digest = Path(value), hashlib.sha256()
    if is_complete(folder):
        made = read_json(folder / NAME)
        # Shards that are indexed again are the same; what is trained again is not.
        digest.update(json.dumps(made.get("data_hash") or made).encode())
        return digest.hexdigest()
    parts = sorted(path for name in ("config.json", "model.safetensors") for path in folder.glob(f"*/{name}"))
    for path in parts:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest() if parts else None


@cache
def provenance() -> dict[str, Any]:
    """Code and library versions that made a run."""
    root = Path(__file__).resolve().parent.parent
    git = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
    packages = ("jepa_wm", "torch", "timm", "open_clip_torch", "webdataset", "lightning", "gymnasium")
    return {
        "commit": git.stdout.strip() if git.returncode == 0 and (root / ".git").exists() else None,
        "python": sys.version.split()[0],
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def hash_shards(splits: dict[str, dict[str, Any]]) -> str:
    """SHA-256 over the names and checksums of the shards of all splits, sorted by name."""
    records = [record for split in splits.values() for record in split["shards"]]
    digest = hashlib.sha256()
    for record in sorted(records, key=lambda record: record["name"]):
        digest.update(record["name"].encode())
        digest.update(bytes.fromhex(record["sha256"]))
    return digest.hexdigest()


def peak_rss_gib() -> float:
    """Peak resident memory of this process in GiB (Linux counts in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
