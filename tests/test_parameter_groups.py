"""What does not decay, and how fast layers learn, by the names that parameters have in models and objectives."""

import torch
from torch import nn

from jepa_wm.data.masks import TubeMask
from jepa_wm.data.transforms import MultiCrop
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.encoders import AttentionPool, ClassPool, Learned, ViT
from jepa_wm.objectives import MaskedLatentPrediction, PredictorOptions, PrototypeOptions, SelfDistillation
from jepa_wm.optim import adamw


def rates(module: nn.Module, layer_decay: float = 1.0) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter."""
    groups = adamw(module, 1.0, 0.1, (0.9, 0.95), layer_decay).param_groups
    return {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["param_names"]}


def test_an_encoder_within_a_student_learns_as_it_does_beside_a_predictor() -> None:
    encoder, inner = ViT(8, 1, 24, 2, 2, prefix=1, pooling=ClassPool()), []
    for objective in (
        MaskedLatentPrediction(encoder, [TubeMask()], PredictorOptions(12, 1, 2)),
        SelfDistillation(encoder, MultiCrop(16, 8, 2), PrototypeOptions(16, 12, 8)),
    ):
        found = rates(objective, 0.5)
        inner.append({name.partition("encoder.")[2]: rate for name, rate in found.items() if "encoder." in name})
        assert {lr for name, (lr, _) in found.items() if "encoder." not in name} == {1.0}
    assert inner[0] == inner[1] and len(inner[0]) == len(list(encoder.parameters()))
    expected = {"embed.weight": (0.125, 0.1), "prefix_tokens": (0.125, 0.0), "norm.weight": (1.0, 0.0)}
    expected |= {f"blocks.{i}.mlp.fc1.weight": (0.5 ** (2 - i), 0.1) for i in range(2)}
    assert expected.items() <= inner[1].items()


def test_a_table_that_is_a_layer_does_not_decay_nor_do_registers() -> None:
    tower = nn.Module()
    tower.embeddings = nn.ModuleDict({f"{kind}_embeddings": nn.Embedding(3, 2) for kind in ("word", "position")})
    tower.position_embedding = nn.Embedding(3, 2)
    tower.reg_token = nn.Parameter(torch.zeros(1, 2, 2))
    assert {name: decay for name, (_, decay) in rates(nn.ModuleDict({"tower": tower})).items()} == {
        "tower.embeddings.word_embeddings.weight": 0.1,
        "tower.embeddings.position_embeddings.weight": 0.0,
        "tower.position_embedding.weight": 0.0,
        "tower.reg_token": 0.0,
    }


def test_the_query_of_a_pooling_does_not_decay_and_stands_above_the_blocks() -> None:
    found = rates(ViT(8, 1, 24, 2, 2, positions=Learned((1, 2, 2)), pooling=AttentionPool(2)), 0.5)
    assert found["pool.latent"] == (1.0, 0.0) and found["pool.q.weight"] == (1.0, 0.1)
    assert found["position_table"] == (0.125, 0.0)


def test_a_linear_layer_decays_whatever_it_is_called() -> None:
    model = nn.ModuleDict({"dynamics": TransformerDynamics(6, (1, 1), 2, 3, Trunk(12, 1, 2))})
    assert rates(model)["dynamics.enter.latent.weight"] == (1.0, 0.1)


def test_a_predictors_tables_of_positions_do_not_decay() -> None:
    found = rates(TransformerDynamics(6, (1, 1), 2, 3, Trunk(12, 1, 2), positions=Learned((4, 1, 1))))
    assert found["table.position_table"] == found["place"] == (1.0, 0.0)
