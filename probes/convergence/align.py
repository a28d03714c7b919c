"""`jepa-wm align`: how alike encoders are."""

from pathlib import Path
from typing import Literal

from jepa_wm.errors import UserError
from jepa_wm.manifest import is_done
from probes.convergence.members import members
from probes.convergence.study import Asked, check, study
from probes.draw import compared
from probes.extract import extract
from probes.sources import check_sources, find_sources


def align(
    models: list[str],
    data: str,
    out: str,
    metrics: tuple[str, ...] = ("mutual_knn", "cka"),
    frames: int = 3000,
    pooling: Literal["mean", "class"] = "mean",
    views: int = 1,
    size: int | None = None,
    permutations: int = 200,
    reference: Literal["platonic-rep"] | None = None,
    seed: int = 0,
) -> None:
    """Hold every two of several models against each other: encoders, text towers, states, pixels, fresh weights.

    Alignment over all pairs of layers on one frame of each held-out episode, or on held-out images and their captions:
    its value, its null, p corrected for the search over layers, an effect corrected for chance, an interval; how it
    depends on k and n; what may deceive in it. Writes report.html, which needs no other file, results.json and
    results.parquet. Features stay in `out`/features.

    Args:
        models: two or more, as `jepa-wm probe extract` names them.
        data: folder of shards, of episodes or of images.
        out: folder for the results.
        metrics: files of probes/metrics.
        frames: of which a tenth and two fifths are the most episodes or images that are taken of val and of test;
            where nothing is held out, all of them of train, too.
        pooling: of a layer's tokens.
        views: frames of an episode or captions of an image, at most, whose features are pooled to one sample: the mean
            of each view's, scaled to norm 1.
        size: of images, as of `jepa-wm probe extract`.
        permutations: of each null; no p-value is below one over these and one.
        reference: another code, whose values are put beside ours, with why they differ.
        seed: of the draw of frames, of nulls and of intervals.

    Raises:
        UserError: if there are fewer than two models, one needs what the shards do not have, or a name or a number
            is out of range.
    """
    config = dict(locals())
    folder = Path(out)
    if is_done(out, "align", config):
        return
    sources = [source for name in models for source in find_sources(name, "last", seed)]
    found = members(sources)
    if len(found) < 2:
        raise UserError(f"align: got the models {models}; expected two or more that differ: jepa-wm align A B")
    check_sources(sources, data, size)
    asked = Asked(metrics, pooling, permutations, seed, False, reference, compared(data), views)
    check(asked, data, frames, each=1)
    store = str(folder / "features")
    # As many samples as of one view each.
    extract(models, data, store, frames * views, views, poolings=(pooling,), splits=asked.splits, size=size, seed=seed)
    study(folder, "align", config, found, asked)
