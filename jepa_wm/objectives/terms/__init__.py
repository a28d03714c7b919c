"""What can be asked of a clip's latents beside their prediction: one term a file."""

from jepa_wm.objectives.terms.gaussian import GaussianLatents
from jepa_wm.objectives.terms.head import HeadTerm
from jepa_wm.objectives.terms.inverse_dynamics import InverseDynamics
from jepa_wm.objectives.terms.proposals import Proposals
from jepa_wm.objectives.terms.sentences import Sentences
from jepa_wm.objectives.terms.straightening import Straightening
from jepa_wm.objectives.terms.time_similarity import TimeSimilarity
from jepa_wm.objectives.terms.variance_covariance import VarianceCovariance

__all__ = [
    "GaussianLatents",
    "HeadTerm",
    "InverseDynamics",
    "Proposals",
    "Sentences",
    "Straightening",
    "TimeSimilarity",
    "VarianceCovariance",
]
