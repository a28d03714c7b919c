"""How an encoder or a world model learns: one objective a file."""

from jepa_wm.objectives.contrastive import ContrastiveText
from jepa_wm.objectives.forecasting import Forecasting
from jepa_wm.objectives.masked import MaskedLatentPrediction

__all__ = ["ContrastiveText", "Forecasting", "MaskedLatentPrediction"]
