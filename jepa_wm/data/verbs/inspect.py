"""`jepa-wm shards inspect`: what a folder of shards holds, as a table and a sheet of pictures."""

from pathlib import Path
from typing import Any

from jepa_wm.data.addresses import is_pipe, is_remote, local_path
from jepa_wm.data.cache import Cache
from jepa_wm.data.folder import manifest_of
from jepa_wm.data.shards import Shards
from jepa_wm.data.verbs.sheet import draw_sheet


def inspect(folder: str, out: str | None = None, samples: int = 12, allow_pipe: bool = False, seed: int = 0) -> None:
    """Print what a folder of shards holds, and draw some of its samples on one sheet.

    Args:
        folder: of shards, local or remote; or a pattern of tars without a manifest.
        out: the sheet, a PNG; by default `contact_sheet.png` in the folder, or here if that is remote.
        samples: pictures, or rows of frames, on the sheet.
        allow_pipe: whether `pipe:` addresses are run, as shell commands.
        seed: draws the samples.

    Raises:
        UserError: if the folder is no good.
    """
    cache = Cache(allow_pipe=allow_pipe)
    single = folder.endswith(".tar") or is_pipe(folder)
    splits = [Shards([folder], cache=cache)] if single else _splits(folder, cache)
    for line in _table(splits):
        print(line)
    here = Path() if single or is_remote(folder) else local_path(folder)
    path = Path(out) if out else here / "contact_sheet.png"
    broken = draw_sheet(path, splits, samples, seed)
    print(f"\n{path}" + (f" ({broken} broken samples left out)" if broken else ""))


def _splits(folder: str, cache: Cache) -> list[Shards]:
    return [Shards(folder, split, cache) for split in manifest_of(folder, cache)["splits"]]


def _table(splits: list[Shards]) -> list[str]:
    manifest = splits[0].manifest or {}
    config = manifest.get("config") or {}
    facts = {
        "kind": manifest.get("kind", "not known: no manifest"),
        "made by": f"{manifest.get('stage', '?')} from {config.get('source') or config.get('environment') or '?'}",
        "pictures": _size(manifest.get("frame_shape")),
        "members": _members(manifest) or ", ".join(splits[0].index(0).extensions),
        "skipped": len(manifest.get("skipped") or []),
        **_moments(manifest.get("statistics")),
    }
    lines = [f"{name:10} {value}" for name, value in facts.items()]
    lines += ["", f"{'split':8} {'shards':>8} {'samples':>10} {'frames':>12} {'size':>12} {'a frame':>10}"]
    for shards in splits:
        lines.append(_row(shards))
    return lines


def _members(manifest: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in (manifest.get("members") or {}).items())


def _row(shards: Shards) -> str:
    records: list[dict[str, Any]] = []
    if shards.manifest:
        records = shards.manifest["splits"][shards.split]["shards"]
    frames = sum(record.get("frames", 0) for record in records) or int(shards.lengths().sum())
    size = sum(record.get("bytes", 0) for record in records)
    each = f"{size / frames / 1000:.2f} kB" if size and frames else "?"
    total = f"{size / 1e6:,.1f} MB" if size else "?"
    return f"{shards.split:8} {len(shards.addresses):8,} {len(shards):10,} {frames:12,} {total:>12} {each:>10}"


def _size(shape: list[int] | None) -> str:
    return f"{shape[1]} x {shape[2]} pixels" if shape else "of several sizes, or not known"


def _moments(statistics: dict[str, Any] | None) -> dict[str, str]:
    return {
        f"{name}s": ", ".join(
            f"{mean:.3g} ± {std:.3g}"
            for mean, std in zip(statistics[f"{name}_mean"], statistics[f"{name}_std"], strict=True)
        )
        or "none"
        for name in ("action", "state")
        if statistics
    }
