"""How linear layers are drawn: as published, or as their widths say."""

import math

import pytest
import torch
from torch import Tensor, nn

from jepa_wm.encoders import BlockOptions, ViT
from jepa_wm.encoders.blocks import Block, Blocks
from jepa_wm.objectives.predictor import MaskPredictor, PredictorOptions


def bound(layer: nn.Linear) -> float:
    """Of Glorot's and Bengio's uniform distribution, whose standard deviation is sqrt(2 / (inputs + outputs))."""
    return math.sqrt(6 / (layer.in_features + layer.out_features))


def is_uniform(weight: Tensor, most: float) -> None:
    assert 0.97 * most < weight.abs().max() <= most
    assert weight.std().item() == pytest.approx(most / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize("std", [0.02, 0.05, None])
def test_what_ends_a_branch_is_divided_by_its_depth(std: float | None) -> None:
    torch.manual_seed(0)
    for number, block in enumerate(Blocks(64, 3, 4, BlockOptions(init_std=std)), start=1):
        assert isinstance(block, Block) and isinstance(block.mlp.fc2, nn.Linear)
        ends = {block.attn.proj: math.sqrt(2 * number), block.mlp.fc2: math.sqrt(2 * number)}
        for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            assert isinstance(layer, nn.Linear) and not layer.bias.any()
            shrunk = ends.get(layer, 1.0)
            if std is None:
                is_uniform(layer.weight, bound(layer) / shrunk)
            else:
                assert layer.weight.std().item() == pytest.approx(std / shrunk, rel=0.05)


def test_embedding_and_predictor_are_drawn_as_the_blocks_are() -> None:
    torch.manual_seed(0)
    for std in (0.02, None):
        encoder = ViT(patch=8, dim=64, depth=1, heads=4, block=BlockOptions(init_std=std), modalities=True)
        predictor = MaskPredictor(encoder, PredictorOptions(48, 1, 4))
        layers = [encoder.embed, encoder.image_embed, predictor.enter, predictor.leave, predictor.blocks[0].attn.qkv]  # type: ignore[union-attr]
        for layer in layers:
            assert isinstance(layer, nn.Linear)
            if std is None:
                is_uniform(layer.weight, bound(layer))
            else:
                assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
