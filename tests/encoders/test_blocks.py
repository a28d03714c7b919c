"""Blocks' shorter ways are the long ones' equals: convolutions, attention in pieces, and outputs nobody reads."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_wm.encoders import linear
from jepa_wm.encoders.blocks import Attention, BlockOptions, Blocks, attend
from jepa_wm.encoders.linear import MANY, Linear
from jepa_wm.encoders.positions import Rope


def with_gradients(out: Tensor, *inputs: Tensor) -> list[Tensor]:
    """An output and its gradients, under weights that tell every entry from the others."""
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad((out * weights).sum(), inputs)]


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("tokens", [2, MANY // 4])
@pytest.mark.parametrize("convolves", [False, True])
def test_a_linear_layer_is_one_however_it_is_done(
    bf16: bool, tokens: int, convolves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "CONVOLVES", convolves)
    torch.manual_seed(0)
    layer, x = Linear(48, 32), torch.randn(MANY // tokens, tokens, 48, requires_grad=True)
    inputs = (x, layer.weight, layer.bias)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        ours = with_gradients(layer(x), *inputs)
        theirs = with_gradients(nn.functional.linear(*inputs), *inputs)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=3e-2 if bf16 else 1e-5, atol=1e-2 if bf16 else 1e-4)


@pytest.mark.parametrize("tokens", [20, 300])
def test_attention_in_bfloat16_is_attention(tokens: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, tokens, 16, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    ours = with_gradients(attend(q[:, :, -11:], k, v), q, k, v)
    theirs = with_gradients(F.scaled_dot_product_attention(q[:, :, -11:].float(), k.float(), v.float()), q, k, v)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got.float(), expected.float(), rtol=0.05, atol=0.02 * expected.abs().max().item())


@pytest.mark.parametrize("recompute", [False, True])
def test_tokens_that_are_read_are_as_if_all_were(recompute: bool) -> None:
    torch.manual_seed(0)
    blocks = Blocks(36, 3, 3, BlockOptions(recompute=recompute)).double().train()
    x = torch.randn(2, 8, 36, dtype=torch.float64, requires_grad=True)
    rotation = Rope().rotary((2, 2, 2), 12)
    parameters = (x, blocks[0].attn.qkv.weight, blocks[2].mlp.fc1.weight)
    first, read = blocks(x, rotation, (0,), slice(-3, None))
    first_of_all, whole = blocks(x, rotation, (0,))
    torch.testing.assert_close(first, first_of_all)
    for got, expected in zip(
        with_gradients(read, *parameters), with_gradients(whole[:, -3:], *parameters), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_queries_and_keys_are_normalised_in_each_head() -> None:
    torch.manual_seed(0)
    layer, x = Attention(12, 3, BlockOptions(qk_norm=True)).double(), 3 * torch.randn(2, 5, 12, dtype=torch.float64)
    norms = layer.q_norm, layer.k_norm
    heads = [part.unflatten(-1, (3, 4)).transpose(1, 2) for part in layer.qkv(x).chunk(3, dim=-1)]
    for part, norm in enumerate(norms):
        assert norm is not None
        for factor in norm.parameters():
            torch.nn.init.normal_(factor)
        centred = heads[part] - heads[part].mean(dim=-1, keepdim=True)
        deviation = (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        heads[part] = centred / deviation * norm.weight + norm.bias
    q, k, v = heads
    mixed = (q @ k.mT / 2).softmax(dim=-1) @ v
    torch.testing.assert_close(layer(x), layer.proj(mixed.transpose(1, 2).flatten(2)))


def test_what_ends_a_branch_begins_smaller_the_deeper_it_stands() -> None:
    torch.manual_seed(0)
    for number, block in enumerate(Blocks(96, 3, 3, BlockOptions()), start=1):
        for weight, ends in (
            (block.attn.proj.weight, True),
            (block.mlp.fc2.weight, True),
            (block.mlp.fc1.weight, False),
        ):
            expected = 0.02 / math.sqrt(2 * number) if ends else 0.02
            assert weight.std().item() == pytest.approx(expected, rel=0.05)
