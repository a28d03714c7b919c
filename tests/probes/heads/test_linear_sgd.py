import pytest
import torch
from torch.nn import functional as F

from probes.heads.linear_sgd import RATES, Sgd, _batches, sgd_probe, sweep, with_bias


def problem(dtype, n=300, d=12, classes=5):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator, dtype=dtype)
    return with_bias(x), F.one_hot((x @ torch.randn(d, classes, generator=generator, dtype=dtype)).argmax(1), classes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_head_of_the_sweep_is_the_head_alone(dtype):
    x, one_hot = problem(dtype)
    together = sweep(x, one_hot, Sgd(steps=200, batch=64), seed=3)
    for rate, head in zip(RATES, together, strict=True):
        alone = sweep(x, one_hot, Sgd(rates=(rate,), steps=200, batch=64), seed=3)[0]
        torch.testing.assert_close(head, alone, atol=1e-6, rtol=0)


def test_a_head_is_what_torch_trains():
    x, one_hot = problem(torch.float64)
    steps, batch, rate = 90, 50, 0.05
    generator = torch.Generator().manual_seed(7)
    first = 0.01 * torch.randn(5, 13, generator=generator, dtype=x.dtype)
    layer = torch.nn.Linear(12, 5).double()
    with torch.no_grad():
        layer.weight.copy_(first[:, :-1])
        layer.bias.zero_()
    optimiser = torch.optim.SGD(layer.parameters(), rate * batch / 256, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for rows in _batches(len(x), batch, steps, generator):
        optimiser.zero_grad()
        F.cross_entropy(layer(x[rows, :-1]), one_hot[rows].argmax(1)).backward()
        optimiser.step()
        schedule.step()
    found = sweep(x, one_hot, Sgd((1e-4, rate), steps, batch), seed=7)[1]
    torch.testing.assert_close(found[:, :-1], layer.weight.data, atol=1e-9, rtol=0)
    torch.testing.assert_close(found[:, -1], layer.bias.data, atol=1e-9, rtol=0)


def test_an_epoch_shows_every_row_once():
    rows = _batches(40, 10, 8, torch.Generator().manual_seed(0))
    assert all(half.flatten().sort().values.equal(torch.arange(40)) for half in rows.chunk(2))
    assert not rows[:4].equal(rows[4:])


def test_planted_classes_are_read_and_noise_is_not(blobs, ignorant):
    recipe = Sgd(steps=300)
    found = sgd_probe(*blobs[0], blobs[1], recipe)
    assert found.score.value > 0.99 and found.score.null == 0.25 and len(found.seeds) == 3
    low, high = found.score.interval
    assert low < found.score.value <= high
    blind = sgd_probe(*ignorant[0], ignorant[1], recipe).score
    assert blind.value <= blind.null + 4 * (0.25 * 0.75 / 200) ** 0.5
