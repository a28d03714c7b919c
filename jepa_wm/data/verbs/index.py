"""`jepa-wm shards index`: make tars from elsewhere readable as a folder of shards."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jepa_wm.data.addresses import expand, is_remote, local_path
from jepa_wm.data.broken import BrokenSample
from jepa_wm.data.moments import to_statistics
from jepa_wm.data.shards import Shards
from jepa_wm.data.verbs.facts import Facts, facts_of, kind_of
from jepa_wm.data.verbs.workers import each
from jepa_wm.data.writer import describe, summarise
from jepa_wm.errors import UserError
from jepa_wm.manifest import NAME, hash_shards, stage_run

SPLITS = ("train", "val", "test")


def index(shards: str, workers: int = 1) -> None:
    """Make tars from elsewhere readable as a folder of shards: indices and a manifest beside them.

    The tars are read and not changed. Their splits are told by their names: those with a word that begins with
    val or test, such as `cc3m-validation-0007.tar`, are held out, the others are for training.

    Args:
        shards: a local folder of tars, or a pattern of tars of one folder, such as `data/cc3m-{00000..00331}.tar`.
        workers: processes.

    Raises:
        UserError: if there are no such tars, they lie in several folders or elsewhere, have a manifest already,
            or hold samples of several kinds or none.
    """
    addresses = expand([f"{shards}/*.tar" if Path(shards).is_dir() else shards])
    if remote := [address for address in addresses if is_remote(address)]:
        raise UserError(f"'{remote[0]}' is not here; index the shards where they lie, and copy the indices along")
    paths = [local_path(address) for address in addresses]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise UserError(f"{missing[0]} does not exist ({len(missing)} of {len(paths)} shards are missing)")
    folders = {path.parent for path in paths}
    if len(folders) != 1:
        raise UserError(f"the shards lie in {len(folders)} folders; index each by itself")
    folder = folders.pop()
    if (folder / NAME).exists():
        raise UserError(f"{folder / NAME} exists: the shards can be read already; `jepa-wm shards verify` checks them")
    with stage_run(folder, "index", {"shards": shards}) as fields:
        bar = tqdm(each(_describe, [(path,) for path in paths], workers), total=len(paths), unit="shard", disable=None)
        found = sorted(bar, key=lambda one: paths.index(one["path"]))
        facts = [Facts.from_json(one["facts"]) for one in found]
        by_split = defaultdict(list)
        for one, own in zip(found, facts, strict=True):
            by_split[_split_of(one["path"])].append((one["record"], own))
        whole = Facts.merge(facts)
        moments = Facts.merge([own for _, own in by_split.get("train", [])]).moments
        splits = {split: summarise([record for record, _ in by_split[split]]) for split in SPLITS if by_split[split]}
        fields.update(
            kind=_kind(found, folder),
            splits=splits,
            members=whole.members,
            frame_shape=whole.frame_shape,
            statistics=to_statistics(moments) if moments else None,
            skipped=[skip for one in found for skip in one["broken"]],
            data_hash=hash_shards(splits),
        )
    samples = sum(one["record"]["samples"] for one in found)
    print(f"{folder}: {samples} samples in {len(paths)} shards; {sum(len(one['broken']) for one in found)} broken")


def _split_of(path: Path) -> str:
    words = re.findall("[a-z]+", path.name.lower())
    return next((split for word in words for split in SPLITS if word.startswith(split)), "train")


def _kind(found: list[dict[str, Any]], folder: Path) -> str:
    kinds = {kind for one in found for kind in one["kinds"]}
    if len(kinds) != 1:
        raise UserError(
            f"the shards of {folder} hold {' and '.join(sorted(kinds)) or 'nothing that can be read'}; expected one "
            "kind of sample: keep each kind in a folder of its own"
        )
    return str(kinds.pop())


def _describe(path: Path) -> dict[str, Any]:
    """What is known of one tar; broken samples are named, and no ground to stop."""
    record = describe(path)
    # An empty tar is no set of samples; it is one of a folder all the same.
    facts, kinds, broken = _read(Shards(str(path))) if record["samples"] else (Facts(), [], [])
    return {"path": path, "record": record, "facts": facts.to_json(), "kinds": kinds, "broken": broken}


def _read(shards: Shards) -> tuple[Facts, list[str | None], list[dict[str, str]]]:
    facts, kinds, broken = Facts(), set(), []
    for number in range(len(shards)):
        try:
            members = shards.members(number)
            own = facts_of(members)
        except UserError as error:
            why = error.why if isinstance(error, BrokenSample) else str(error)
            broken.append({"index": shards.name(number), "why": why})
            continue
        facts = Facts.merge([facts, own])
        kinds.add(kind_of(members))
    return facts, list(kinds), broken
