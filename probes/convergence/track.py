"""`jepa-wm probe track`: what runs know at every checkpoint, and whether they converge."""

from pathlib import Path
from typing import Literal

from jepa_wm.errors import UserError
from jepa_wm.manifest import is_done
from probes.convergence.members import members
from probes.convergence.study import Asked, check, study
from probes.draw import compared
from probes.extract import extract
from probes.sources import check_sources, find_sources


def track(
    runs: list[str],
    data: str,
    out: str,
    anchors: tuple[str, ...] = ("factors", "pixels"),
    metrics: tuple[str, ...] = ("mutual_knn", "cka"),
    frames: int = 3000,
    pooling: Literal["mean", "class"] = "mean",
    size: int | None = None,
    permutations: int = 200,
    seed: int = 0,
) -> None:
    """Probe every checkpoint of one or several runs, and hold every two of them against each other.

    Ridge probes of the position and of every factor that varies, effective ranks and spectra, on held-out episodes;
    alignment of every two runs at the same share of their training, over all pairs of layers, above its null. Writes
    report.html, which needs no other file, results.json and results.parquet. Features stay in `out`/features.

    Args:
        runs: run folders of `jepa-wm pretrain` or `forecast`.
        data: folder of shards, of episodes or of images; of the latter it is asked what labels are known, and not
            positions, and the anchors must be others.
        out: folder for the results.
        anchors: what else every run is held against, as `jepa-wm probe extract` names it.
        metrics: of alignment, files of probes/metrics.
        frames: frames that probes are trained on; alignment takes one of each held-out episode.
        pooling: of a layer's tokens.
        size: of images, as of `jepa-wm probe extract`.
        permutations: of each null; no p-value is below one over these and one.
        seed: of the draw of frames, of nulls and of intervals.

    Raises:
        UserError: if there is no run, one is none, or a name or a number is out of range.
    """
    config = dict(locals())
    if not runs:
        raise UserError("probe track: got no runs; expected one or several run folders: jepa-wm probe track RUN…")
    folder = Path(out)
    if is_done(out, "track", config):
        return
    sources = [source for run in runs for source in find_sources(run, "all", seed)]
    sources += [source for name in anchors for source in find_sources(name, "last", seed)]
    check_sources(sources, data, size)
    found = members(sources)
    asked = Asked(metrics, pooling, permutations, seed, probes=True, splits=compared(data))
    if len(found) > 1:
        check(asked, data, frames)
    features = str(folder / "features")
    extract(runs, data, features, frames, poolings=(pooling,), steps="all", size=size, seed=seed)
    if anchors:
        extract(list(anchors), data, features, frames, poolings=(pooling,), size=size, seed=seed)
    study(folder, "track", config, found, asked)
