"""The values of platonic-rep, the code of the Platonic Representation Hypothesis, and where ours differ and why.

A thin layer over our metrics: its clip of outliers, its 1e-6, its scale of one metric, its search over layers.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.errors import UserError
from probes import kernels
from probes.alignment.maps import score_map
from probes.metrics import cknna, cycle_knn, edit_distance_knn, lcs_knn, mutual_knn

EPS = 1e-6
QUANTILE = 0.95


class Reference(NamedTuple):
    """What platonic-rep answers.

    Attributes:
        values: of all pairs of layers, float64 (Lx, Ly).
        score: the largest, 0 if none is above 0.
        best: the first pair (i, j) that reaches it; None if none is above 0.
    """

    values: Tensor
    score: float
    best: tuple[int, int] | None


def alignment(
    metric: str,
    x: Sequence[Tensor],
    y: Sequence[Tensor],
    k: int = 10,
    exact: bool = True,
    reference: str = "platonic-rep",
) -> Reference:
    """Compare layers as another code does, in the precision of the features given.

    That code rounds to float32, and to bfloat16 through its Python interface: pass float64 for what it means, or round
    the features first for what it does. Its SVCCA is left out: it is random (.76 to .88 over seeds on one input).

    Args:
        metric: by the other code's name: mutual_knn, cycle_knn, lcs_knn, edit_distance_knn, cknna, cka, unbiased_cka.
        x, y: layers (n, d) of two models on the same n samples; layers of one width are clipped together, as its
            tensors are, layers of several widths one by one, as its lists are.
        k: neighbours.
        exact: its clip's threshold: of all values (`--precise`, and its Python interface), or the mean over samples.
        reference: the code.

    Raises:
        UserError: another reference, or a metric that it does not have.

    Source: github.com/minyoungg/platonic-rep at dcd76ba, `metrics.py` and `measure_alignment.py`.
    """
    if reference != "platonic-rep":
        raise UserError(f"reference: got {reference!r}, expected platonic-rep")
    if metric not in METRICS:
        raise UserError(f"metric: got {metric!r}, expected one of {', '.join(METRICS)}, which platonic-rep has")
    recipe = METRICS[metric]
    of_x, of_y = ([recipe.prepare(layer, k) for layer in prepared(layers, exact)] for layers in (x, y))
    values = torch.tensor([[recipe.compare(a, b) for b in of_y] for a in of_x], dtype=torch.float64)
    score = values.max().item()
    if score <= 0:
        return Reference(values, 0.0, None)
    return Reference(values, score, divmod(int((values.flatten() == score).nonzero()[0]), len(y)))


def prepared(layers: Sequence[Tensor], exact: bool = True) -> list[Tensor]:
    """Layers (n, d) clipped at one threshold of their absolute values, then of rows of norm 1.

    The threshold is the value at place int(.95 m) of the m absolute values in order; else the mean over samples of the
    .95 quantile of a sample's values, which reaches less far into samples that are outliers as a whole.
    """
    if len({layer.shape[1] for layer in layers}) > 1:
        return [row for layer in layers for row in prepared([layer], exact)]
    size = torch.stack(list(layers), dim=1).abs().flatten(start_dim=1)
    if exact:
        threshold = size.flatten().kthvalue(int(QUANTILE * size.numel()) + 1).values
    else:
        threshold = torch.stack([row.quantile(QUANTILE) for row in size]).mean()
    return [F.normalize(layer.clamp(-threshold, threshold), dim=1) for layer in layers]


def differences(x: Sequence[Tensor], y: Sequence[Tensor], k: int = 10) -> list[dict[str, Any]]:
    """Both answers for each metric: {metric, reference, ours, why}, each the best of all pairs of layers.

    Args:
        x, y: layers (n, d) of two models on the same n samples, n at least 8.
        k: neighbours.
    """
    rows = []
    for name, recipe in METRICS.items():
        neighbours = None if recipe.ours.startswith("cka") else k
        ours = score_map(recipe.ours, x, y, neighbours).max().item()
        rows.append({"metric": name, "reference": alignment(name, x, y, k).score, "ours": ours, "why": recipe.why})
    return rows


class Recipe(NamedTuple):
    """How one of its metrics is made of ours.

    Attributes:
        ours: our metric.
        prepare: a clipped layer (n, d) and k -> what `compare` needs of it.
        compare: two prepared layers -> its value.
        why: the difference, in words.
    """

    ours: str
    prepare: Callable[[Tensor, int], Any]
    compare: Callable[[Any, Any], float]
    why: str


class Kernel(NamedTuple):
    """A centred kernel of norm 1, (n, n), and the norm that it had, for the 1e-6."""

    unit: Tensor
    norm: float


def _damped(a: Kernel, b: Kernel) -> float:
    """CKA with 1e-6 added to its denominator."""
    scale = a.norm * b.norm
    return kernels.inner(a.unit, b.unit) * scale / (scale + EPS)


def _biased(x: Tensor, _: int) -> Kernel:
    matrix = kernels.centred(x.double() @ x.double().T)
    return Kernel(kernels.unit(matrix), matrix.norm().item())


def _unbiased(x: Tensor, _: int) -> Kernel:
    n = len(x)
    matrix = kernels.u_centred(x.double() @ x.double().T)
    return Kernel(kernels.unit(matrix), matrix.norm().item() / (n * (n - 3)) ** 0.5)


_CLIP = "it clips values at the .95 quantile of all layers together; we clip nothing, and warn of outlier dimensions"
_CKA = f"{_CLIP}; it scales rows to norm 1 before centring and adds 1e-6 to the denominator; we do neither"

METRICS = {
    "mutual_knn": Recipe("mutual_knn", mutual_knn.prepare, mutual_knn.compare, _CLIP),
    "cycle_knn": Recipe("cycle_knn", cycle_knn.prepare, cycle_knn.compare, _CLIP),
    "lcs_knn": Recipe(
        "lcs_knn",
        lcs_knn.prepare,
        lambda a, b: a.shape[1] * lcs_knn.compare(a, b),
        f"{_CLIP}; it gives a length, 0 to k, and we a share of k; with pymp it loses three quarters of the lengths",
    ),
    "edit_distance_knn": Recipe(
        "edit_distance_knn",
        edit_distance_knn.prepare,
        edit_distance_knn.compare,
        f"{_CLIP}; with pymp it loses three quarters of the distances, which count as 0",
    ),
    "cknna": Recipe(
        "cknna",
        cknna.prepare,
        lambda a, b: cknna.compare(a, b, eps=EPS),
        f"{_CLIP}; it adds 1e-6 to the denominator, whose terms are that small themselves; we do not",
    ),
    "cka": Recipe("cka_biased", _biased, _damped, f"{_CKA}; its null grows with the effective width"),
    "unbiased_cka": Recipe("cka", _unbiased, _damped, _CKA),
}
"""Its metrics by its names."""
