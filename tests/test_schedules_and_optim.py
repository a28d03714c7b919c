"""Schedules, parameter groups and moving averages, against their closed forms."""

import math

import pytest
import torch
from torch import nn

from jepa_wm.errors import UserError
from jepa_wm.optim import TOKENS, adamw, ema_update, set_rates
from jepa_wm.schedules import Constant, Cosine, Linear, Ramp, Schedule, WarmupConstantCooldown, WarmupCosine


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(3.0), {-1.0: 3.0, 0.0: 3.0, 1.0: 3.0, 2.0: 3.0}),
        (Linear(2.0, 4.0), {-1.0: 2.0, 0.0: 2.0, 0.25: 2.5, 1.0: 4.0, 2.0: 4.0}),
        (Linear(0.4, 0.04), {0.5: 0.22}),
        (Ramp(1.0, 3.0, 0.25, 0.75), {0.0: 1.0, 0.25: 1.0, 0.375: 1.5, 0.5: 2.0, 0.75: 3.0, 1.0: 3.0}),
        (Ramp(2.0, 1.0, 0.0, 0.5), {0.0: 2.0, 0.25: 1.5, 0.5: 1.0, 1.0: 1.0}),
        (Cosine(0.0, 1.0), {0.0: 0.0, 1 / 3: 0.25, 0.5: 0.5, 2 / 3: 0.75, 1.0: 1.0, 1.5: 1.0}),
        # 0.8 of the cosine of V-JEPA's weight decay, whose training ends where five quarters would end it.
        (Cosine(0.0, 1.0, stretch=2.0), {0.0: 0.0, 2 / 3: 0.25, 1.0: 0.5, 1.5: 0.5}),
        (Cosine(0.04, 0.4, stretch=1.25), {1.0: 0.22 + 0.18 * (1 + math.sqrt(5)) / 4}),
        (WarmupCosine(1.0, 0.2, final=0.1), {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 0.55, 1.0: 0.1, 1.5: 0.1}),
        (WarmupCosine(2.0, 0.5, start=1.0), {0.0: 1.0, 0.25: 1.5, 0.5: 2.0, 0.75: 1.0, 1.0: 0.0}),
        (WarmupCosine(1.0, 0.0), {0.0: 1.0, 0.5: 0.5}),
        # A training of 1.25 times the length, cut off at 1: 0.8 of a cosine without warm-up.
        (WarmupCosine(1.0, 0.0, stretch=1.25), {1.0: 0.5 * (1 + math.cos(0.8 * math.pi))}),
        (
            WarmupConstantCooldown(2.0, 0.2, 0.4, start=1.0, final=0.5),
            {0.0: 1.0, 0.1: 1.5, 0.2: 2.0, 0.4: 2.0, 0.6: 2.0, 0.8: 1.25, 1.0: 0.5, 1.5: 0.5},
        ),
        (WarmupConstantCooldown(2.0, 0.0, 0.0), {0.0: 2.0, 1.0: 2.0}),
        (WarmupConstantCooldown(2.0, 0.5, 0.5), {0.25: 1.0, 0.5: 2.0, 0.75: 1.0}),
    ],
)
def test_schedules_have_the_values_of_their_closed_forms(schedule: Schedule, expected: dict[float, float]) -> None:
    assert [schedule(progress) for progress in expected] == pytest.approx(list(expected.values()))


@pytest.mark.parametrize("warmup", [-0.1, 1.0])
def test_a_share_of_the_training_is_within_it(warmup: float) -> None:
    for build in (WarmupCosine, WarmupConstantCooldown):
        with pytest.raises(UserError, match="warmup"):
            build(1.0, warmup)
    with pytest.raises(UserError, match="cooldown"):
        WarmupConstantCooldown(1.0, 0.1, warmup)
    with pytest.raises(UserError, match="stretch"):
        WarmupCosine(1.0, stretch=0.9)
    with pytest.raises(UserError, match=r"Cosine\.stretch: got 0\.9"):
        Cosine(1.0, 0.0, stretch=0.9)
    with pytest.raises(UserError, match=r"warmup \+ cooldown"):
        WarmupConstantCooldown(1.0, 0.6, 0.6)
    with pytest.raises(UserError, match=r"Ramp: got begin 0\.5 and until 0\.5; expected the first before the second"):
        Ramp(0.0, 1.0, 0.5, 0.5)


def test_vectors_do_not_decay_and_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].requires_grad_(False)
    decayed, others = adamw(model, 1e-3, 0.1, (0.9, 0.95)).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)] and decayed["weight_decay"] == 0.1
    assert [tuple(p.shape) for p in others["params"]] == [(4,)] * 3 and others["weight_decay"] == 0.0
    with pytest.raises(UserError, match="frozen"):
        adamw(model.requires_grad_(False), 1e-3, 0.1, (0.9, 0.95))


class Encoder(nn.Module):
    """Two blocks, what lies below and above them, and one parameter of every name that does not decay."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
        self.neck = nn.Linear(2, 2)
        self.positions = nn.Module()
        for name in TOKENS:
            holder: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                holder = getattr(holder, part)
            holder.register_parameter(last, nn.Parameter(torch.zeros(2, 2)))


def rates(optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    return {
        name: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for name in group["param_names"]
    }


def test_tokens_tables_and_temperatures_do_not_decay() -> None:
    found = rates(adamw(Encoder(), 1.0, 0.1, (0.9, 0.95)))
    assert {name for name, (_, decay) in found.items() if decay == 0 and not name.endswith("bias")} == {*TOKENS} - {
        "logit_bias"
    }
    assert found["logit_bias"] == found["embed.bias"] == (1.0, 0.0) and found["embed.weight"] == (1.0, 0.1)


def test_layers_learn_more_slowly_the_lower_they_are() -> None:
    training = nn.ModuleDict({"encoder": Encoder(), "predictor": Encoder()})
    optimizer = adamw(training, 1.0, 0.1, (0.9, 0.95), layer_decay=0.5)
    set_rates(optimizer, 2.0, 0.3)
    found = rates(optimizer)
    expected = {"embed": 0.25, "blocks.0": 0.5, "blocks.1": 1.0, "neck": 2.0}
    assert {part: found[f"encoder.{part}.weight"] for part in expected} == {k: (v, 0.3) for k, v in expected.items()}
    assert {part: found[f"encoder.{part}.bias"] for part in expected} == {k: (v, 0.0) for k, v in expected.items()}
    assert all(found[f"encoder.{token}"] == (0.25, 0.0) for token in TOKENS)
    assert {lr for name, (lr, _) in found.items() if name.startswith("predictor.")} == {2.0}
    # An encoder that is trained by itself has the same rates; so has one that is named twice.
    alone = adamw(training["encoder"], 2.0, 0.3, (0.9, 0.95), layer_decay=0.5)
    assert rates(alone) == {k.removeprefix("encoder."): v for k, v in found.items() if k.startswith("encoder.")}
    # A factor on all of the encoder comes on top, and leaves the rest alone.
    slow = rates(adamw(training, 2.0, 0.3, (0.9, 0.95), layer_decay=0.5, encoder_lr_scale=0.1))
    assert slow == {
        name: (lr * (0.1 if name.startswith("encoder.") else 1.0), decay) for name, (lr, decay) in found.items()
    }
    for wrong in (0.0, 1.5):
        with pytest.raises(UserError, match="layer_decay"):
            adamw(training, 1.0, 0.1, (0.9, 0.95), layer_decay=wrong)
        with pytest.raises(UserError, match="encoder_lr_scale"):
            adamw(training, 1.0, 0.1, (0.9, 0.95), encoder_lr_scale=wrong)
    with pytest.raises(UserError, match="Linear has no `blocks`; expected 1"):
        adamw(nn.Linear(2, 2), 1.0, 0.1, (0.9, 0.95), layer_decay=0.5)


def test_the_average_moves_by_one_minus_the_decay_and_buffers_are_copied() -> None:
    average, model = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    model(torch.randn(8, 2))
    with torch.no_grad():
        model.weight.fill_(2.0)
    ema_update(average, model, 0.9)
    torch.testing.assert_close(average.weight.detach(), torch.full((2,), 1.1))
    assert torch.equal(average.running_mean, model.running_mean) and int(average.num_batches_tracked) == 1  # type: ignore[arg-type]
    ema_update(nn.Linear(2, 2), nn.Linear(2, 2), 0.9)
