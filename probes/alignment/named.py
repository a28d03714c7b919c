"""A metric of probes/metrics by its name, in the three parts that calibration needs."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

import probes.metrics
from jepa_wm.complaint import nearest
from jepa_wm.errors import UserError
from probes import kernels

LISTS = frozenset({"mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn"})
"""Metrics whose prepared layer is its lists of neighbours (n, k)."""

KERNELS = {"cka": kernels.u_centred, "cka_biased": kernels.centred}
"""Metrics that are the inner product of two kernels (n, n), where rows are few enough, and what centres these."""


class Metric(NamedTuple):
    """A metric that prepares a layer once.

    Attributes:
        name: its file's name.
        prepare: a layer (n, d) -> whatever comparing needs of it.
        compare: two prepared layers -> the value.
        relabelled: two prepared layers and an order (n,) -> the value if the second had its rows in that order.
        k: neighbours; None where the metric has none.
    """

    name: str
    prepare: Callable[[Tensor], Any]
    compare: Callable[[Any, Any], float]
    relabelled: Callable[[Any, Any, Tensor], float]
    k: int | None


def metric_named(name: str, k: int | None = None) -> Metric:
    """The metric in probes/metrics/<name>.py, with k neighbours if it has neighbours (None: its own default).

    Raises:
        UserError: there is no such metric, it cannot be calibrated, or k is given to a metric without neighbours.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(probes.metrics.__path__))
    if name not in names:
        raise UserError(f"metric: got {name!r}, expected one of {', '.join(names)}{nearest(name, names)}")
    module = importlib.import_module(f"probes.metrics.{name}")
    if not hasattr(module, "prepare"):
        raise UserError(
            f"metric: {name} has no prepare, compare and relabelled, and cannot be calibrated by permutation"
        )
    prepare = module.prepare
    default = inspect.signature(prepare).parameters.get("k")
    if default is None and k is not None:
        raise UserError(f"k: got {k} for {name}, which has no neighbours; leave k out")
    if default is not None:
        k = k or default.default
        prepare = partial(prepare, k=k)
    return Metric(name, prepare, module.compare, module.relabelled, k)
