"""Search over action sequences: one planner a file; knows costs, and no model or environment."""

from jepa_wm.planning.amortised import Amortised
from jepa_wm.planning.augmented_lagrangian import AugmentedLagrangian
from jepa_wm.planning.categorical_cem import CategoricalCEM
from jepa_wm.planning.cem import CEM
from jepa_wm.planning.gradient import GradientPlanner
from jepa_wm.planning.hybrid import Hybrid
from jepa_wm.planning.icem import ICEM
from jepa_wm.planning.lbfgs import LBFGS
from jepa_wm.planning.mppi import MPPI
from jepa_wm.planning.predictive_sampling import PredictiveSampling
from jepa_wm.planning.projected_gradient import ProjectedGradient
from jepa_wm.planning.random_shooting import RandomShooting

__all__ = [
    "CEM",
    "ICEM",
    "LBFGS",
    "MPPI",
    "Amortised",
    "AugmentedLagrangian",
    "CategoricalCEM",
    "GradientPlanner",
    "Hybrid",
    "PredictiveSampling",
    "ProjectedGradient",
    "RandomShooting",
]
