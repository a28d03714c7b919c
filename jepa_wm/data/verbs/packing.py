"""Write samples of any source into a folder of shards: in parallel, resumable, all or nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from tqdm import tqdm

from jepa_wm.data.moments import to_statistics
from jepa_wm.data.verbs.facts import Facts
from jepa_wm.data.verbs.jobs import Shard, Source, Storage, record_of, write_one
from jepa_wm.data.verbs.workers import each
from jepa_wm.data.writer import summarise
from jepa_wm.errors import UserError
from jepa_wm.files import read_json, write_json
from jepa_wm.manifest import check_same, hash_shards, is_done, stage_run

SHOWN = 20


DEFAULT = Storage()


class Making(NamedTuple):
    """What the manifest says of how a folder is made: the stage, its config, and what is kept of its sources'."""

    stage: str
    config: dict[str, Any]
    kept: dict[str, Any] = {}  # noqa: RUF012


def plan(splits: Mapping[str, Sequence[int]], samples_per_shard: int) -> dict[str, list[Shard]]:
    """The shards of each split, all full but its last.

    In a shard samples are in the order of the source: a row group, or a file of several episodes, is then read
    once a shard and not once a sample. Readers shuffle anyway.

    Raises:
        UserError: if there is not at least one sample a shard.
    """
    if samples_per_shard < 1:
        raise UserError(f"samples_per_shard is {samples_per_shard}; expected at least 1")
    return {
        split: [
            Shard(f"{split}-{number:06d}.tar", sorted(numbers[start : start + samples_per_shard]))
            for number, start in enumerate(range(0, len(numbers), samples_per_shard))
        ]
        for split, numbers in splits.items()
    }


def write_folder(
    out: str,
    making: Making,
    source: Source,
    splits: dict[str, list[Shard]],
    storage: Storage = DEFAULT,
    workers: int = 1,
) -> None:
    """Write the planned shards and their manifest to `out`, which appears when all of it is there.

    Until then they are kept in a hidden folder beside it; the same call goes on with those that are missing.
    The bytes do not depend on the number of workers.

    Args:
        out: the folder.
        making: what makes it, for the manifest; another config does not go on with what this one began.
        source: the samples.
        splits: the shards of each split; see `plan`.
        storage: how episodes are stored, and how many samples may be left out because they cannot be read.
        workers: processes.

    Raises:
        UserError: if `out` holds something else, or too many samples cannot be read.
    """
    folder = Path(out).resolve()
    if is_done(out, making.stage, making.config):
        return
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no folder of shards; name another folder or delete it")
    aside = folder.with_name(f".{folder.name}.{making.stage}")
    with _alone(aside):
        skipped = _write(aside, making, source, splits, storage, workers)
        _finish(aside, folder)
    count = sum(map(len, splits.values()))
    print(f"{out}: {len(source) - skipped} samples in {count} shards; {skipped} skipped")


def _write(
    aside: Path,
    making: Making,
    source: Source,
    splits: dict[str, list[Shard]],
    storage: Storage,
    workers: int,
) -> int:
    """Write the shards that are missing, and the manifest; how many samples were skipped."""
    _begin(aside, making.config | {"samples": len(source)})
    shards = [shard for split in splits.values() for shard in split]
    with stage_run(aside, making.stage, making.config) as fields:
        records = _write_missing(aside, source, shards, storage, workers)
        skipped = [skip for record in records for skip in record["skipped"]]
        parts = {shard.name: record for shard, record in zip(shards, records, strict=True)}
        of_train = [parts[shard.name] for shard in splits.get("train", shards)]
        facts = Facts.merge([Facts.from_json(record["facts"]) for record in records])
        written = {
            split: summarise([parts[shard.name]["record"] for shard in own if parts[shard.name]["record"]])
            for split, own in splits.items()
        }
        fields.update(
            **making.kept,
            kind=source.kind,
            splits=written,
            members=facts.members,
            frame_shape=facts.frame_shape,
            statistics=_statistics(of_train),
            skipped=skipped,
            data_hash=hash_shards(written),
        )
    return len(skipped)


def _statistics(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    moments = Facts.merge([Facts.from_json(record["facts"]) for record in records]).moments
    return to_statistics(moments) if moments else None


@contextmanager
def _alone(aside: Path) -> Iterator[None]:
    """Keep other processes from writing the same folder."""
    lock = aside.with_name(f"{aside.name}.lock")
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
            lock.unlink(missing_ok=True)
    except Timeout:
        raise UserError(f"another process is writing {aside}; wait for it, or name another folder") from None


def _begin(aside: Path, config: dict[str, Any]) -> None:
    # What a killed process was writing.
    for path in aside.glob(".*.partial"):
        path.unlink()
    if (aside / "config.json").is_file():
        check_same(read_json(aside / "config.json"), config, aside)
    else:
        aside.mkdir(parents=True, exist_ok=True)
        write_json(aside / "config.json", config)


def _finish(aside: Path, folder: Path) -> None:
    for path in [*aside.glob("*.record.json"), aside / "config.json"]:
        path.unlink()
    if folder.is_dir():
        folder.rmdir()
    aside.rename(folder)


def _write_missing(
    aside: Path, source: Source, shards: list[Shard], storage: Storage, workers: int
) -> list[dict[str, Any]]:
    """The records of all shards, those missing written first; see `write_one`."""
    missing = [shard for shard in shards if not record_of(aside, shard).is_file()]
    total = sum(len(shard.numbers) for shard in shards)
    done = total - sum(len(shard.numbers) for shard in missing)
    limit = storage.max_skipped * total
    skipped = [
        skip for shard in shards if shard not in missing for skip in read_json(record_of(aside, shard))["skipped"]
    ]
    work = partial(write_one, aside=aside, source=source, storage=storage)
    # Silent where nobody is watching: a log file would fill with bars.
    with tqdm(total=total, initial=done, unit="sample", desc="shards", disable=None) as bar:
        for record in each(work, [(shard,) for shard in missing], workers):
            skipped += record["skipped"]
            bar.update(record["samples"])
            _check_skipped(skipped, limit, total)
    _check_skipped(skipped, limit, total)
    return [read_json(record_of(aside, shard)) for shard in shards]


def _check_skipped(skipped: list[dict[str, Any]], limit: float, total: int) -> None:
    if len(skipped) > limit:
        listed = "; ".join(f"{skip['index']}: {skip['why']}" for skip in skipped[:SHOWN])
        more = f"; and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
        raise UserError(
            f"{len(skipped)} of {total} samples cannot be read, more than max_skipped allows: {listed}{more}"
        )
