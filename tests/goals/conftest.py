"""A model for goals to ask: an ensemble with every head that a goal may read, of random weights."""

import pytest
import torch

from jepa_wm.dynamics import Ensemble, TransformerDynamics, Trunk
from jepa_wm.dynamics.heads import RewardHead, StateHead, ValueHead
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encoders import ClipText, GridPool, TextAlignment, ViT
from jepa_wm.world_model import WorldModel

WIDTH = 6


@pytest.fixture(scope="session")
def model() -> WorldModel:
    torch.manual_seed(0)
    heads = {name: kind(WIDTH, width=8) for name, kind in {"reward": RewardHead, "value": ValueHead}.items()}
    state = StateHead(WIDTH, state_dim=2, width=8)
    # So that what they read differs from frame to frame: the first answers of some are all alike.
    for head in (*heads.values(), state):
        torch.nn.init.normal_(head.read[-1].weight)
    state.prepare({"state_mean": [1.0, 20.0], "state_std": [0.5, 10.0]})
    return WorldModel(
        ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(WIDTH, 2)),
        Ensemble(TransformerDynamics(WIDTH, trunk=Trunk(12, 1, 2)), 2),
        TextAlignment(WIDTH, ClipText(8, 16, 1, 2)),
        heads={**heads, "state": state},
        proposal=Proposal(WIDTH, longest=3, width=8),
    ).eval()
