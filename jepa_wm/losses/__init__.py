"""One statistic a file, computed in float32."""

from jepa_wm.losses.gram import gram
from jepa_wm.losses.koleo import koleo
from jepa_wm.losses.prototypes import cross_entropy, cross_views, sinkhorn
from jepa_wm.losses.sigreg import SIGReg

__all__ = ["SIGReg", "cross_entropy", "cross_views", "gram", "koleo", "sinkhorn"]
