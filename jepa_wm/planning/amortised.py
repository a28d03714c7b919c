"""No search at all."""

import torch
from torch import Tensor

from jepa_wm.contracts import Generators
from jepa_wm.planning.incumbent import Incumbent
from jepa_wm.planning.iterative import Iterative


class Amortised(Iterative):
    """Do what the model's `Proposal` says: the planning was done when it was trained. It is judged once.

    Attributes:
        proposes: a world model starts this planner from its proposal.

    Source: GC-IDM (arXiv 2605.08732), whose network names the next action alone; here a whole plan is rolled out by
    asking it again wherever the dynamics say that the last block leads.
    """

    proposes = True

    def search(self, best: Incumbent, std: Tensor, generator: Generators) -> None:
        costs = best.judge(best.actions[:, None])
        best.note(spread=torch.zeros_like(best.costs), elites=costs[:, 0])
