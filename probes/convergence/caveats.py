"""How much of an alignment is the choice of k and n, or of the code, and what may deceive in it."""

from collections.abc import Iterator
from itertools import combinations
from math import comb, prod
from typing import Any

from probes.alignment.reference import differences
from probes.alignment.sweeps import k_sweep, n_sweep
from probes.alignment.warnings import warnings_of, warnings_of_search
from probes.convergence.left_out import LeftOut
from probes.convergence.members import Gallery, Member
from probes.convergence.table import Row

SWEPT = "mutual_knn"
K = 10
KS = (1, 5, 10, 20, 50)
SIZES = (8, 4, 2, 1)
"""Parts of the samples that are taken: an eighth, a quarter, a half, all."""


def swept(gallery: Gallery, last: dict[str, Member], best: list[Row], seed: int, left_out: LeftOut) -> Iterator[Row]:
    """Mutual kNN of each pair's best layers at the end: over k, over n at one k, and over n at one k / n.

    Args:
        gallery: what they are compared on.
        last: each model's last checkpoint.
        best: rows of kind "alignment".
        seed: of subsets and permutations.
        left_out: notes the pairs that a sweep refuses.
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
        with left_out.noted(f"sweeps over k and n of '{one}' and '{other}'"):
            found = {
                "k sweep": k_sweep(SWEPT, x, y, [k for k in KS if k < n // 2], seed=seed),
                "n sweep": n_sweep(SWEPT, x, y, sizes, k=K, seed=seed),
                "share sweep": n_sweep(SWEPT, x, y, sizes, share=K / n, seed=seed),
            }
            for kind, rows in found.items():
                yield from (Row(kind, model=one, other=other, **each) for each in rows)


def cautions(gallery: Gallery, last: dict[str, Member], permutations: int, left_out: LeftOut) -> list[str]:
    """One sentence for each thing that is to be minded about the last layer of each model, and about the search.

    Args:
        gallery: what they are compared on.
        last: each model's last checkpoint.
        permutations: of each null.
        left_out: notes the models of which nothing can be said.
    """
    found, layers = [], [1]
    for model, member in last.items():
        with left_out.noted(f"a look at the last layer of '{model}'"):
            found += warnings_of(f"{model}, layer {gallery.names(member)[-1]}", gallery.layers(member)[-1], K)
            layers.append(len(gallery.names(member)))
    searched = prod(sorted(layers)[-2:]) if len(last) > 1 else 1
    return warnings_of_search(searched, permutations, comb(len(last), 2)) + found


def referred(gallery: Gallery, last: dict[str, Member], left_out: LeftOut) -> Iterator[dict[str, Any]]:
    """What platonic-rep says of every two models: {model, other, metric, reference, ours, why}."""
    for one, other in combinations(last, 2):
        with left_out.noted(f"platonic-rep's values of '{one}' and '{other}'"):
            for row in differences(gallery.layers(last[one]), gallery.layers(last[other]), K):
                yield {"model": one, "other": other, **row}
