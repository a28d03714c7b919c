"""Collapse alarms: the loss of a joint-embedding method does not show collapse, its latents do."""

from probes.health.intervals import jackknife, scored
from probes.health.lidar import lidar
from probes.health.spectrum import PowerLaw, alpha_req, effective_rank, nesum, participation_ratio, rankme
from probes.health.sphere import alignment, uniformity
from probes.health.spread import spread
from probes.health.straightness import curvature, straightness

__all__ = [
    "PowerLaw",
    "alignment",
    "alpha_req",
    "curvature",
    "effective_rank",
    "jackknife",
    "lidar",
    "nesum",
    "participation_ratio",
    "rankme",
    "scored",
    "spread",
    "straightness",
    "uniformity",
]
