"""`jepa-wm align`: how alike encoders are."""

from pathlib import Path
from typing import Literal

from jepa_wm.errors import UserError
from jepa_wm.manifest import is_done
from probes.convergence.members import members
from probes.convergence.study import SPLITS, Asked, check, study
from probes.extract import extract
from probes.sources import find_sources


def align(
    models: list[str],
    data: str,
    out: str,
    metrics: tuple[str, ...] = ("mutual_knn", "cka"),
    frames: int = 3000,
    pooling: Literal["mean", "class"] = "mean",
    permutations: int = 200,
    reference: Literal["platonic-rep"] | None = None,
    seed: int = 0,
) -> None:
    """Hold every two of several models against each other: encoders, text towers, states, pixels, fresh weights.

    Alignment over all pairs of layers on one frame of each held-out episode: its value, its null, p corrected for the
    search over layers, an effect corrected for chance, an interval; how it depends on k and n; what may deceive in it.
    Writes report.html, which needs no other file, results.json and results.parquet. Features stay in `out`/features.

    Args:
        models: two or more, as `jepa-wm probe extract` names them.
        data: folder of shards.
        out: folder for the results.
        metrics: files of probes/metrics.
        frames: of which a tenth and two fifths are the most episodes that are taken of val and of test.
        pooling: of a layer's tokens.
        permutations: of each null; no p-value is below one over these and one.
        reference: another code, whose values are put beside ours, with why they differ.
        seed: of the draw of frames, of nulls and of intervals.

    Raises:
        UserError: if there are fewer than two models, or a name or a number is out of range.
    """
    config = dict(locals())
    folder = Path(out)
    if is_done(out, "align", config):
        return
    found = members(source for name in models for source in find_sources(name, "last", seed))
    if len(found) < 2:
        raise UserError(f"align: got the models {models}; expected two or more that differ: jepa-wm align A B")
    asked = Asked(metrics, pooling, permutations, seed, False, reference)
    check(asked, data, frames, each=1)
    extract(models, data, str(folder / "features"), frames, each=1, poolings=(pooling,), splits=SPLITS, seed=seed)
    study(folder, "align", config, found, asked)
