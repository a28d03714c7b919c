"""Heads learn what can be read off latents, keep the data's units, and survive being saved."""

import copy
import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jepa_wm.checkpoint import MODELS, build, spec
from jepa_wm.contracts import Batch
from jepa_wm.dynamics import heads
from jepa_wm.dynamics.heads import ContinueHead, Head, PixelHead, RewardHead, StateHead, ValueHead
from jepa_wm.errors import UserError

CLASSES = [
    cls
    for path in sorted(Path(inspect.getfile(heads)).parent.glob("*.py"))
    for cls in vars(import_module(f"jepa_wm.dynamics.heads.{path.stem}")).values()
    if inspect.isclass(cls) and issubclass(cls, Head) and cls is not Head and cls.__module__.endswith(path.stem)
]
CASES: dict[type[Head], Callable[[], Head]] = {
    StateHead: lambda: StateHead(6, 4, 3, 32),
    RewardHead: lambda: RewardHead(6, 4, 32),
    ValueHead: lambda: ValueHead(6, 4, 0.9, width=32),
    ContinueHead: lambda: ContinueHead(6, 4, 32),
    PixelHead: lambda: PixelHead(6, 4, 16, 8),
}
every_head = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
STATISTICS = {"state_mean": [3.0, -50.0, 0.0], "state_std": [0.5, 20.0, 0.0]}


def batch(clips: int = 5, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return {
        "pixels": torch.randint(0, 256, (clips, 4, 3, 16, 16), dtype=torch.uint8, generator=draw),
        "reward": torch.randn(clips, 3, generator=draw),
        "state": torch.randn(clips, 4, 3, generator=draw),
        "ends": torch.randint(0, 2, (clips, 3), generator=draw).float(),
    }


def latents(clips: int = 5, seed: int = 1) -> Tensor:
    return torch.randn(clips, 4, 4, 6, generator=torch.Generator().manual_seed(seed))


def made(cls: type[Head]) -> Head:
    torch.manual_seed(0)
    head = CASES[cls]()
    head.prepare(STATISTICS)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return head


def learn(head: Head, seen: Tensor, told: Batch, steps: int = 400) -> None:
    optimizer = torch.optim.AdamW([p for p in head.parameters() if p.requires_grad], 3e-3, weight_decay=0.0)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        loss = head.error(seen, told)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        head.after_step(step / steps)


def explained(found: Tensor, wanted: Tensor) -> float:
    """R2, the least over what is told."""
    error, spread = (found - wanted).square().flatten(0, 1), (wanted - wanted.mean(dim=(0, 1))).square().flatten(0, 1)
    return (1 - error.mean(dim=0) / spread.mean(dim=0)).min().item()


def test_each_head_has_a_case() -> None:
    assert set(CLASSES) == set(CASES)


@every_head
def test_it_reads_each_frame_by_itself(cls: type[Head]) -> None:
    head, seen = made(cls).eval(), latents()
    together = head(seen)
    assert together.shape[:2] == (5, 4) and together.dtype == torch.float32
    torch.testing.assert_close(together[2, 3], head(seen[2, 3]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[None, :, 1:], head(seen[None, :, 1:]), rtol=1e-4, atol=1e-4)


@every_head
def test_weights_and_statistics_are_saved_with_it(cls: type[Head]) -> None:
    head = made(cls)
    again = build(spec(head), within=MODELS)
    assert spec(again) == spec(head)
    again.load_state_dict(head.state_dict())
    torch.testing.assert_close(again(latents()), head(latents()))


@every_head
def test_what_it_learns_must_be_in_the_batch(cls: type[Head]) -> None:
    with pytest.raises(UserError, match=f"{cls.__name__}: the batch has no '.*it has captions"):
        made(cls).error(latents(), {"captions": []})


@every_head
def test_all_of_it_that_is_trained_has_gradient(cls: type[Head]) -> None:
    head, seen = made(cls).train(), latents().requires_grad_()
    head.error(seen, batch()).backward()
    assert seen.grad is not None and seen.grad.abs().sum() > 0
    assert all((p.grad is not None) == p.requires_grad for p in head.parameters())
    assert all(m.training == any(p.requires_grad for p in m.parameters()) for m in head.modules() if [*m.parameters()])


def test_a_state_is_told_in_its_own_units_to_r2_above_99() -> None:
    torch.manual_seed(0)
    head, weights = StateHead(6, 4, 3, 64), torch.randn(24, 3)
    units, offset = torch.tensor([0.5, 20.0, 1e-3]), torch.tensor([3.0, -50.0, 0.0])
    seen, held_out = (torch.randn(128, 4, 4, 6) for _ in range(2))
    state, wanted = (clip.flatten(2) @ weights * units + offset for clip in (seen, held_out))
    rows = state.flatten(0, 1)
    head.prepare({"state_mean": rows.mean(dim=0).tolist(), "state_std": rows.std(dim=0).tolist()})
    learn(head, seen, {"state": state}, 600)
    assert explained(head(held_out), wanted) > 0.99
    one_off = (wanted - held_out.new_tensor([0.0, rows.std(dim=0)[1].item(), 0.0])).clone()
    assert head.error(held_out, {"state": one_off}).item() == pytest.approx(1 / 3, abs=0.03)


def test_columns_that_a_state_head_does_not_learn_are_told_as_their_mean_and_change_no_error() -> None:
    head, seen, given = StateHead(6, 4, 3, 32, columns=[2, 0]), latents(), batch()
    head.prepare({"state_mean": [3.0, -50.0, 1.0], "state_std": [0.5, 20.0, 2.0]})
    read, told = head.read(seen), head(seen)
    torch.testing.assert_close(told[..., 2], 1.0 + 2.0 * read[..., 0])
    torch.testing.assert_close(told[..., 0], 3.0 + 0.5 * read[..., 1])
    assert (told[..., 1] == -50.0).all()
    missed = torch.stack([(given["state"][..., 2] - 1.0) / 2.0, (given["state"][..., 0] - 3.0) / 0.5], dim=-1) - read
    torch.testing.assert_close(head.error(seen, given), missed.square().mean())
    given["state"][..., 1] += 1e6
    torch.testing.assert_close(head.error(seen, given), missed.square().mean())


@pytest.mark.parametrize("columns", [[], [0, 0], [3], [-1]])
def test_columns_that_a_state_has_not(columns: list[int]) -> None:
    with pytest.raises(UserError, match=r"StateHead.columns: got \[.*\]; expected some of 0 to 2, each once"):
        StateHead(6, 4, 3, 32, columns)


def test_rewards_of_the_frame_that_is_reached_are_told_to_r2_above_99() -> None:
    torch.manual_seed(0)
    head, weights = RewardHead(6, 1, 64), 2.0 * torch.randn(6)
    seen, held_out = (torch.randn(512, 3, 1, 6) for _ in range(2))
    learn(head, seen, {"reward": (seen[:, 1:, 0] @ weights)})
    assert explained(head(held_out)[..., None], (held_out[:, :, 0] @ weights)[..., None]) > 0.99


def test_heads_of_what_is_to_be_gained_begin_with_nothing() -> None:
    for cls in (RewardHead, ValueHead):
        assert torch.allclose(CASES[cls]()(latents()), torch.zeros(5, 4), atol=1e-5)


@pytest.mark.parametrize("with_ends", [True, False])
def test_value_targets_are_the_sums_written_out(with_ends: bool) -> None:
    head, told, seen = made(ValueHead), batch(), latents()
    assert isinstance(head, ValueHead)
    if not with_ends:
        del told["ends"]
    with torch.no_grad():
        last = head.two_hot.decode(head.average(seen[:, -1]))
    wanted = torch.zeros(5, 3)
    for clip in range(5):
        for first in range(3):
            share = 1.0
            for step in range(first, 3):
                wanted[clip, first] += share * told["reward"][clip, step]
                share *= 0.9 * (1.0 - (told["ends"][clip, step].item() if with_ends else 0.0))
            wanted[clip, first] += share * last[clip]
    torch.testing.assert_close(head.error(seen, told), head.two_hot(head.read(seen[:, :-1]), wanted))


def test_the_average_of_a_value_follows_slowly() -> None:
    head = made(ValueHead)
    assert isinstance(head, ValueHead)
    before, now = copy.deepcopy(head.average[1].weight), head.read[1].weight
    head.after_step(0.5)
    torch.testing.assert_close(head.average[1].weight, 0.99 * before + 0.01 * now)


def test_values_are_the_geometric_series() -> None:
    torch.manual_seed(0)
    head, seen = ValueHead(2, 1, 0.5, 0.5, 16), torch.eye(2)[torch.arange(8) % 2][:, None, None].repeat(1, 3, 1, 1)
    # Either kind of latent stays what it is and gains 1 or -3 a step: 1 / (1 - .5) and -3 / (1 - .5) in all.
    learn(head, seen, {"reward": (seen[:, 1:, 0] @ torch.tensor([1.0, -3.0]))}, 1000)
    torch.testing.assert_close(head(torch.eye(2)[:, None]), torch.tensor([2.0, -6.0]), rtol=0.02, atol=0.02)


def test_the_end_of_an_episode_is_learned() -> None:
    torch.manual_seed(0)
    head, seen = ContinueHead(6, 4, 32), latents(128)
    ends = (seen[:, 1:, 2, 3] > 0).float()
    learn(head, seen, {"ends": ends}, 200)
    certain = seen[:, 1:, 2, 3].abs() > 0.2
    assert ((head(seen)[:, 1:] < 0.5).float() == ends)[certain].float().mean() > 0.99


@pytest.mark.parametrize(("tokens", "size"), [(1, 16), (9, 12), (16, 20), (16, 4)])
def test_pictures_are_laid_out_as_the_tokens_are(tokens: int, size: int) -> None:
    torch.manual_seed(0)
    head, side = PixelHead(3, tokens, size, 16), round(tokens**0.5)
    seen = torch.rand(16, 1, tokens, 3)
    grid = seen.view(16, side, side, 3).permute(0, 3, 1, 2)
    pixels = torch.nn.functional.interpolate(grid, (size, size), mode="nearest")
    learn(head, seen, {"pixels": (255 * pixels).round().byte()[:, None]}, 200)
    assert (head(seen)[:, 0] - pixels).square().mean() < 0.2 * pixels.var()


def test_pictures_of_another_size_are_brought_to_its_own() -> None:
    head, seen = made(PixelHead), latents()
    pixels = torch.zeros(5, 4, 3, 40, 32, dtype=torch.uint8)
    torch.testing.assert_close(head.error(seen, {"pixels": pixels + 51}), (head(seen) - 0.2).square().mean())


@pytest.mark.parametrize("wrong", [{"tokens": 5}, {"tokens": 196, "size": 8}])
def test_a_picture_needs_a_square_of_tokens(wrong: dict) -> None:
    with pytest.raises(UserError, match="expected a square number"):
        PixelHead(**wrong)


def test_frames_of_other_tokens_are_refused_where_the_numbers_would_fit() -> None:
    with pytest.raises(UserError, match=r"got frames of \(tokens, width\) \(1, 24\); expected \(2, 12\)"):
        StateHead(12, tokens=2)(torch.zeros(3, 1, 24))


def test_states_of_another_width_are_refused() -> None:
    with pytest.raises(UserError, match="state has 1 numbers; state_dim is 3"):
        made(StateHead).prepare({"state_mean": [0.0], "state_std": [1.0]})
    with pytest.raises(UserError, match="state has 2 numbers; state_dim is 3"):
        made(StateHead).error(latents(), {"state": torch.zeros(5, 4, 2)})
