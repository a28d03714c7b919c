"""One statistic a file, computed in float32."""

from jepa_wm.losses.sigreg import SIGReg

__all__ = ["SIGReg"]
