"""What a planner is asked for: one kind of goal a file; each makes a cost of a model's imagined futures."""

import numpy as np
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.goals.avoid import Avoid
from jepa_wm.goals.goal import Constraint, Goal
from jepa_wm.goals.image import Image
from jepa_wm.goals.keep import Keep
from jepa_wm.goals.latent import Latents
from jepa_wm.goals.reward import Reward
from jepa_wm.goals.sentence import Sentence
from jepa_wm.goals.smoothness import Smoothness
from jepa_wm.goals.state import State
from jepa_wm.goals.steps_to_go import BlocksTo, StepsToGo
from jepa_wm.goals.sum import Sum
from jepa_wm.goals.uncertainty import Uncertainty
from jepa_wm.observations import Observation, tensor_of

__all__ = [
    "Avoid",
    "BlocksTo",
    "Constraint",
    "Goal",
    "GoalLike",
    "Image",
    "Keep",
    "Latents",
    "Reward",
    "Sentence",
    "Smoothness",
    "State",
    "StepsToGo",
    "Sum",
    "Uncertainty",
    "as_goal",
]

GoalLike = Goal | Tensor | np.ndarray | Observation | str | list[str]
"""A goal; or images (E, C, H, W) or one (C, H, W), alone or with their states; or a sentence, or one for each
environment."""


def as_goal(wanted: GoalLike) -> Goal:
    """The goal that an image or a sentence stands for.

    Raises:
        UserError: if it stands for none.
    """
    if isinstance(wanted, Goal):
        return wanted
    if isinstance(wanted, Observation):
        return Image(wanted)
    if isinstance(wanted, Tensor | np.ndarray):
        return Image(Observation(tensor_of(wanted)))
    if isinstance(wanted, str) or (isinstance(wanted, list) and all(isinstance(item, str) for item in wanted)):
        return Sentence(wanted)
    raise UserError(
        f"plan: got a goal of type {type(wanted).__name__}; expected an image, an Observation, a sentence or a Goal"
    )
