"""Proposals are learned beside a world model that stays as it is."""

import torch
from torch import nn

from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encoders import GridPool, PooledFrames, StateFrames, ViT
from jepa_wm.objectives import Proposing


def test_nothing_but_the_proposal_learns_or_is_in_training_mode() -> None:
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))
    frames = StateFrames(PooledFrames(), 2, 4)
    dynamics = TransformerDynamics(10, (1, 1), 2, 3, Trunk(12, 1, 2, dropout=0.1))
    model = nn.ModuleDict({"encoder": encoder, "dynamics": dynamics, "frames": frames})
    objective = Proposing(encoder, model, Proposal(10, 1, 2, 3, longest=2, width=8)).train()
    batch = {
        "pixels": torch.randint(0, 256, (2, 3, 3, 16, 16), dtype=torch.uint8),
        "state": torch.randn(2, 3, 2),
        "actions": torch.randn(2, 2, 6),
    }
    objective(batch)["loss"].backward()
    parameters, modules = dict(objective.named_parameters()), dict(objective.named_modules())
    proposal = {name for name in parameters if name.startswith("proposal.")}
    assert {name for name, parameter in parameters.items() if parameter.requires_grad} == proposal
    assert {name for name, parameter in parameters.items() if parameter.grad is not None} == proposal
    assert {name.partition(".")[0] for name, module in modules.items() if module.training} == {"", "proposal"}
    assert objective.exported() == {**model, "proposal": objective.proposal}
