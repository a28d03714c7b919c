"""Linear layers whose weights oneDNN has in its own form."""

import pytest
import torch
import torch.nn.functional as F

from jepa_wm.encoders.linear import FEW, GELULinear, Linear, packed


def gelu(x: torch.Tensor) -> torch.Tensor:
    return x / 2 * (1 + torch.erf(x / 2**0.5))


@pytest.mark.parametrize("kind", [Linear, GELULinear])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 5), (FEW, 5), (4, FEW, 5)])
@torch.no_grad()
def test_packed_weights_are_the_same_layer(kind: type[Linear], bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = kind(5, 7, bias=bias), torch.randn(*shape)
    brute = x @ layer.weight.T + (layer.bias if bias else 0.0)
    brute = gelu(brute) if kind is GELULinear else brute
    torch.testing.assert_close(layer(x), brute)
    for _ in range(2):
        with packed():
            torch.testing.assert_close(layer(x), brute)
            torch.testing.assert_close(layer(x.mT.contiguous().mT), brute)
            with torch.autocast("cpu", torch.bfloat16):
                found = layer(x)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), brute, rtol=2e-2, atol=2e-2)


@torch.no_grad()
def test_weights_may_change_between_searches_and_searches_may_be_nested() -> None:
    layer, x = Linear(4, 2), torch.randn(FEW, 4)
    for _ in range(2):
        layer.weight.add_(1.0)
        with packed():
            torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
            with packed():
                torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
            torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_a_gradient_goes_through_all_the_same() -> None:
    layer, x = Linear(4, 2), torch.randn(1, FEW, 4, requires_grad=True)
    with packed():
        (slope,) = torch.autograd.grad(layer(x).sum(), x)
    torch.testing.assert_close(slope, layer.weight.detach().sum(dim=0).expand(1, FEW, 4))


@torch.no_grad()
def test_weights_that_are_stacked_are_left_to_vmap() -> None:
    layer, x, weights = Linear(4, 2), torch.randn(1, FEW, 4), torch.randn(5, 2, 4)

    def one(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    with packed():
        found = torch.vmap(one)(weights)
    torch.testing.assert_close(found, torch.stack([F.linear(x, weight, layer.bias) for weight in weights]))
