"""How an encoder or a world model learns: one objective a file."""

from jepa_wm.objectives.alignment import TeacherAlignment
from jepa_wm.objectives.contrastive import ContrastiveText
from jepa_wm.objectives.forecasting import Forecasting, Rollout
from jepa_wm.objectives.lejepa import LeJEPA
from jepa_wm.objectives.masked import ImageSteps, MaskedLatentPrediction
from jepa_wm.objectives.masked_sigreg import MaskedSIGReg
from jepa_wm.objectives.predictor import PredictorOptions
from jepa_wm.objectives.proposing import Proposing
from jepa_wm.objectives.reading import Reading
from jepa_wm.objectives.self_distillation import GramAnchor, PrototypeOptions, SelfDistillation

__all__ = [
    "ContrastiveText",
    "Forecasting",
    "GramAnchor",
    "ImageSteps",
    "LeJEPA",
    "MaskedLatentPrediction",
    "MaskedSIGReg",
    "PredictorOptions",
    "Proposing",
    "PrototypeOptions",
    "Reading",
    "Rollout",
    "SelfDistillation",
    "TeacherAlignment",
]
