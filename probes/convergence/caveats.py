"""How much of an alignment is the choice of k and n, or of the code, and what may deceive in it."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from jepa_wm.errors import UserError
from probes.alignment.reference import differences
from probes.alignment.sweeps import k_sweep, n_sweep
from probes.alignment.warnings import warnings_of, warnings_of_search
from probes.convergence.members import Gallery, Member
from probes.convergence.table import Row

SWEPT = "mutual_knn"
K = 10
KS = (1, 5, 10, 20, 50)
SIZES = (8, 4, 2, 1)
"""Parts of the samples that are taken: an eighth, a quarter, a half, all."""


def swept(gallery: Gallery, last: dict[str, Member], best: list[Row], seed: int) -> Iterator[Row]:
    """Mutual kNN of each pair's best layers at the end: over k, over n at one k, and over n at one k / n.

    Args:
        gallery: what they are compared on.
        last: each model's last checkpoint.
        best: rows of kind "alignment".
        seed: of subsets and permutations.
    """
    n = len(gallery)
    sizes = [n // part for part in SIZES if n // part > 2 * K]
    for one, other in combinations(last, 2):
        row = [row for row in best if (row.model, row.other, row.metric) == (one, other, SWEPT)][-1:]
        if not row:
            continue
        x, y = (
            gallery.layers(last[model])[gallery.names(last[model]).index(layer or "")]
            for model, layer in ((one, row[0].layer), (other, row[0].other_layer))
        )
        found = {
            "k sweep": k_sweep(SWEPT, x, y, [k for k in KS if k < n // 2], seed=seed),
            "n sweep": n_sweep(SWEPT, x, y, sizes, k=K, seed=seed),
            "share sweep": n_sweep(SWEPT, x, y, sizes, share=K / n, seed=seed),
        }
        for kind, rows in found.items():
            yield from (Row(kind, model=one, other=other, **each) for each in rows)


def cautions(gallery: Gallery, last: dict[str, Member], permutations: int) -> list[str]:
    """One sentence for each thing that is to be minded about the last layer of each model, and about the search."""
    pairs = max(len(gallery.names(a)) * len(gallery.names(b)) for a, b in combinations(last.values(), 2))
    found = warnings_of_search(pairs, permutations)
    for model, member in last.items():
        found += warnings_of(f"{model}, layer {gallery.names(member)[-1]}", gallery.layers(member)[-1], K)
    return found


def referred(gallery: Gallery, last: dict[str, Member], reference: str) -> list[dict[str, Any]]:
    """What another code says of every two models: {model, other, metric, reference, ours, why}.

    Raises:
        UserError: if the other code is not platonic-rep.
    """
    if reference != "platonic-rep":
        raise UserError(f"reference: got {reference!r}; expected platonic-rep, or none")
    return [
        {"model": one, "other": other, **row}
        for one, other in combinations(last, 2)
        for row in differences(gallery.layers(last[one]), gallery.layers(last[other]), K)
    ]
