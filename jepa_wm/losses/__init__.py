"""One statistic a file, computed in float32."""

from jepa_wm.losses.cosine import cosine_error
from jepa_wm.losses.gram import gram
from jepa_wm.losses.koleo import koleo
from jepa_wm.losses.prototypes import cross_entropy, cross_views, sinkhorn
from jepa_wm.losses.sigreg import SIGReg
from jepa_wm.losses.straightness import curvature
from jepa_wm.losses.two_hot import TwoHot, symexp, symlog
from jepa_wm.losses.vicreg import covariance_penalty, variance_hinge

__all__ = [
    "SIGReg",
    "TwoHot",
    "cosine_error",
    "covariance_penalty",
    "cross_entropy",
    "cross_views",
    "curvature",
    "gram",
    "koleo",
    "sinkhorn",
    "symexp",
    "symlog",
    "variance_hinge",
]
