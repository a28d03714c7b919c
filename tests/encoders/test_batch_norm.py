"""BatchNorm is torch's, over the rows of all ranks."""

from collections.abc import Callable

import torch

from jepa_wm.encoders.batch_norm import BatchNorm


def rows() -> torch.Tensor:
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1


def on_a_rank(rank: int) -> tuple[torch.Tensor | None, ...]:
    norm, x = BatchNorm(5), rows()[4 * rank : 4 * rank + 4].requires_grad_()
    y = norm(x)
    y.square().cos().sum().backward()
    return y.detach(), x.grad, norm.running_mean, norm.running_var


def test_it_is_torchs_own() -> None:
    ours, theirs, x = BatchNorm(5), torch.nn.BatchNorm1d(5), rows()
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_two_ranks_are_one_and_remember_the_same(on_two_ranks: Callable) -> None:
    found = on_two_ranks(on_a_rank)
    theirs, x = torch.nn.BatchNorm1d(5), rows().requires_grad_()
    y = theirs(x)
    y.square().cos().sum().backward()
    assert x.grad is not None
    for place, whole in enumerate((y, x.grad)):
        both = torch.cat([found[0][place], found[1][place]])
        torch.testing.assert_close(both, whole.detach(), rtol=1e-4, atol=1e-5)
    for _, _, mean, variance in found:
        torch.testing.assert_close(mean, theirs.running_mean)
        torch.testing.assert_close(variance, theirs.running_var)
