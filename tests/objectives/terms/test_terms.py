"""What every term promises, and who gets gradient."""

import inspect
import math
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.checkpoint import build, spec
from jepa_wm.contracts import Batch, LatentTerm
from jepa_wm.dynamics.heads import StateHead, ValueHead
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encoders import ClipText, TextAlignment
from jepa_wm.errors import UserError
from jepa_wm.losses import SIGReg
from jepa_wm.objectives import terms
from jepa_wm.objectives.terms import (
    GaussianLatents,
    HeadTerm,
    InverseDynamics,
    Proposals,
    Sentences,
    Straightening,
    TimeSimilarity,
    VarianceCovariance,
)

CLASSES = [
    cls
    for path in sorted(Path(inspect.getfile(terms)).parent.glob("*.py"))
    for cls in vars(import_module(f"jepa_wm.objectives.terms.{path.stem}")).values()
    if inspect.isclass(cls) and issubclass(cls, LatentTerm) and cls.__module__.endswith(f"terms.{path.stem}")
]
CASES: dict[str, Callable[[], LatentTerm]] = {
    "GaussianLatents": lambda: GaussianLatents(0.1, 8),
    "VarianceCovariance": lambda: VarianceCovariance(),
    "VarianceCovariance, over time": lambda: VarianceCovariance(0.5, 0.0, 0.0, 2.0, 3.0),
    "TimeSimilarity": lambda: TimeSimilarity(),
    "InverseDynamics": lambda: InverseDynamics(3, 2, 2, 3, 16),
    "Straightening": lambda: Straightening(),
    "Sentences": lambda: Sentences(TextAlignment(3, ClipText(4, 8, 1, 2))),
    "HeadTerm": lambda: HeadTerm(StateHead(3, 2, 2, 16), "state", detach=False, imagined=True),
    "Proposals": lambda: Proposals(Proposal(3, 2, 2, 3, longest=3, width=8), blocks=0.5),
    "HeadTerm, detached": lambda: HeadTerm(StateHead(3, 2, 2, 16), "state", imagined=True),
}
every_case = pytest.mark.parametrize("case", CASES)


def made(case: str) -> LatentTerm:
    torch.manual_seed(0)
    return CASES[case]()


def given(samples: slice = slice(None)) -> tuple[Tensor, Tensor, Batch]:
    """Latents (8, 4, 2, 3), what two predictors imagine, and the rest of the clip."""
    draw = torch.Generator().manual_seed(1)
    latents, imagined = torch.randn(8, 4, 2, 3, generator=draw), torch.randn(2, 8, 3, 2, 3, generator=draw)
    actions, state = torch.randn(8, 3, 6, generator=draw), torch.randn(8, 4, 2, generator=draw)
    captions = [[f"clip {clip} at {t}" for t in range(4)] for clip in range(8)][samples]
    batch = {"actions": actions[samples], "state": state[samples], "captions": captions, "step": 6}
    return 0.6 * latents[samples], 0.6 * imagined[:, samples], batch


def test_each_term_has_a_case() -> None:
    assert {cls.__name__ for cls in CLASSES} == {case.partition(",")[0] for case in CASES}


@every_case
def test_it_is_a_scalar_that_is_built_from_its_configuration_and_names_its_weight(case: str) -> None:
    term = made(case)
    again = build(spec(term))
    assert spec(again) == spec(term) and again.weight == term.weight
    again.load_state_dict(term.state_dict())
    first, second = (one(*given()) for one in (term, again))
    assert first.ndim == 0 and first.isfinite() and first.dtype == torch.float32
    torch.testing.assert_close(first, second)


@every_case
def test_a_readout_leaves_the_latents_alone_and_all_else_shapes_them(case: str) -> None:
    term, (latents, imagined, batch) = made(case), given()
    term(latents.requires_grad_(), imagined.requires_grad_(), batch).backward()
    assert (latents.grad is not None) == (case not in ("HeadTerm, detached", "Proposals"))
    assert (imagined.grad is not None) == (case in ("HeadTerm", "Sentences"))
    assert all(parameter.grad is not None for parameter in term.parameters())


def test_proposals_weigh_actions_and_blocks() -> None:
    term, (latents, imagined, batch) = made("Proposals"), given()
    found = dict(term.exported())["proposal"].errors(latents, batch["actions"])  # type: ignore[operator]
    torch.testing.assert_close(term(latents, imagined, batch), found["actions"] + 0.5 * found["blocks"])


def test_proposals_take_in_the_spread_of_the_actions() -> None:
    term, (latents, imagined, batch) = made("Proposals"), given()
    statistics = {"action_mean": [0.5, -1.0], "action_std": [2.0, 3.0]}
    term.prepare(statistics)
    alone = made("Proposals").exported()["proposal"]
    before = alone.errors(latents, batch["actions"])  # type: ignore[operator]
    alone.prepare(statistics)  # type: ignore[operator]
    after = alone.errors(latents, batch["actions"])  # type: ignore[operator]
    torch.testing.assert_close(term(latents, imagined, batch), after["actions"] + 0.5 * after["blocks"])
    assert (before["actions"] - after["actions"]).abs() > 0.1


def sets(latents: Tensor) -> list[Tensor]:
    """Each place of each frame over the batch, (8, 3) each."""
    return [latents[:, t, n] for t in range(4) for n in range(2)]


def test_gaussian_latents_are_measured_frame_by_frame() -> None:
    latents = given()[0]
    frames = [SIGReg(8)(latents[:, t].flatten(1)[None], 6) for t in range(4)]
    torch.testing.assert_close(made("GaussianLatents")(*given()), torch.stack(frames).mean())


def test_variance_and_covariance_written_out() -> None:
    latents = given()[0]
    apart = latents - latents.mean(dim=0)
    paths = [apart[b, :, n] for b in range(8) for n in range(2)]
    found = []
    for several in (sets(latents), paths):
        covariance = [torch.cov(one.T) for one in several]
        hinge = torch.stack([(1 - (one.diagonal() + 1e-4).sqrt()).clamp(min=0).mean() for one in covariance]).mean()
        others = [(one.square().sum() - one.diagonal().square().sum()) / 6 for one in covariance]
        found.append((hinge, torch.stack(others).mean()))
    (variance, covariance), (in_time, together_in_time) = found
    torch.testing.assert_close(made("VarianceCovariance")(*given()), 18 * variance + 12 * covariance)
    over_time = made("VarianceCovariance, over time")(*given())
    torch.testing.assert_close(over_time, 2 * in_time + 3 * together_in_time)


def test_similarity_and_straightness_written_out() -> None:
    latents = given()[0]
    steps = [latents[:, t + 1] - latents[:, t] for t in range(3)]
    squared = torch.stack([step.square().mean() for step in steps]).mean()
    torch.testing.assert_close(made("TimeSimilarity")(*given()), squared)
    bends = [
        1 - (a * b).sum() / (a.norm() * b.norm())
        for before, after in pairwise(steps)
        for a, b in zip(before, after, strict=True)
    ]
    torch.testing.assert_close(made("Straightening")(*given()), torch.stack(bends).mean())


def test_actions_that_latents_tell_are_learned_in_standard_deviations() -> None:
    torch.manual_seed(0)
    term = InverseDynamics(3, 2, 2, 3, 64)
    std, mean = torch.tensor([0.1, 50.0]), torch.tensor([1.0, -200.0])
    term.prepare({"action_mean": mean.tolist(), "action_std": std.tolist()})
    # All six numbers of a block are the step that the six of the latents make.
    latents = torch.randn(256, 4, 2, 3).cumsum(dim=1)
    standard = latents.diff(dim=1).flatten(2)
    batch = {"actions": (standard.unflatten(-1, (3, 2)) * std + mean).flatten(-2)}
    optimizer = torch.optim.Adam(term.parameters(), 3e-3)
    for _ in range(300):
        loss = term(latents, None, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01
    one_off = batch["actions"] + torch.tensor([0.0, 50.0] * 3)
    assert term(latents, None, {"actions": one_off}).item() == pytest.approx(0.5, abs=0.05)


def test_actions_of_another_width_are_refused() -> None:
    with pytest.raises(UserError, match="blocks are 4 wide; expected 6"):
        made("InverseDynamics")(given()[0], None, {"actions": torch.zeros(8, 3, 4)})
    with pytest.raises(UserError, match="action has 3 numbers; action_dim is 2"):
        made("InverseDynamics").prepare({"action_mean": [0.0] * 3, "action_std": [1.0] * 3})


def test_a_caption_is_held_against_what_was_seen_and_what_every_predictor_imagines() -> None:
    term, (latents, imagined, batch) = made("Sentences"), given()
    assert isinstance(term, Sentences)
    # At step 6 of clips of four frames it is the turn of frame 2, the second that is imagined.
    sentences = term.text.text([captions[2] for captions in batch["captions"]])
    losses = []
    for view in (latents[:, 2], imagined[0, :, 1], imagined[1, :, 1]):
        logits = term.text.image(view) @ sentences.T / 0.07
        losses.append((F.cross_entropy(logits, torch.arange(8)) + F.cross_entropy(logits.T, torch.arange(8))) / 2)
    torch.testing.assert_close(term(latents, imagined, batch), losses[0] + (losses[1] + losses[2]) / 2)
    torch.testing.assert_close(term(latents, None, batch), losses[0])
    first = term(latents, imagined, batch | {"step": 4})
    torch.testing.assert_close(first, term(latents, None, batch | {"step": 4}))
    with pytest.raises(UserError, match="no captions"):
        term(latents, imagined, {"step": 0})


@pytest.mark.parametrize(("learned", "kept"), [(-1.0, 0.0), (2.5, 2.5), (9.0, math.log(100))])
def test_the_temperature_of_sentences_stays_within_its_bounds(learned: float, kept: float) -> None:
    term = made("Sentences")
    assert isinstance(term, Sentences)
    term.contrast.logit_scale.data.fill_(learned)
    term.after_step(0.5)
    assert term.contrast.logit_scale.item() == pytest.approx(kept)


def test_a_head_learns_from_each_rollout_behind_the_frame_it_set_out_from() -> None:
    term, (latents, imagined, batch) = made("HeadTerm"), given()
    assert isinstance(term, HeadTerm)
    behind = [term.head.error(torch.cat([latents[:, :1], one], dim=1), batch) for one in imagined]
    torch.testing.assert_close(term(latents, imagined, batch), term.head.error(latents, batch) + sum(behind) / 2)
    with pytest.raises(UserError, match="'state': imagined is true"):
        term(latents, None, batch)


def test_a_head_is_prepared_followed_and_exported_under_its_name() -> None:
    head = StateHead(3, 2, 2, 16)
    term = HeadTerm(head, "proprioception")
    term.prepare({"state_mean": [1.0, 2.0], "state_std": [3.0, 0.0]})
    assert head.standard.mean.tolist() == [1.0, 2.0] and head.standard.std.tolist() == [3.0, 1.0]
    assert term.exported() == {"proprioception": head} and TimeSimilarity().exported() == {}
    value = HeadTerm(ValueHead(3, 2, width=16), "value")
    before = value.head.state_dict()["average.1.weight"].clone()
    torch.nn.init.ones_(value.head.get_parameter("read.1.weight"))
    value.after_step(0.5)
    torch.testing.assert_close(value.head.state_dict()["average.1.weight"], 0.99 * before + 0.01)


def scaled(case: str, samples: slice = slice(None)) -> tuple[float, Tensor]:
    """A term's value, and its gradient with respect to the units of the latents, or the first of its own."""
    term, (latents, imagined, batch) = made(case), given(samples)
    scale = torch.ones(3, requires_grad=True)
    value = term(latents * scale, imagined * scale, batch)
    value.backward()
    gradient = next(term.parameters()).grad if scale.grad is None else scale.grad
    assert gradient is not None
    return value.item(), gradient


def on_a_rank(rank: int) -> dict[str, tuple[float, Tensor]]:
    found = {case: scaled(case, slice(4 * rank, 4 * rank + 4)) for case in CASES}
    for _, gradient in found.values():
        dist.all_reduce(gradient)
    return found


def test_two_ranks_are_one_process_with_twice_the_batch(on_two_ranks: Callable) -> None:
    one, other = on_two_ranks(on_a_rank)
    for case in CASES:
        value, gradient = scaled(case)
        assert (one[case][0] + other[case][0]) / 2 == pytest.approx(value, rel=1e-5), case
        torch.testing.assert_close(one[case][1] / 2, gradient, rtol=1e-4, atol=1e-5, msg=case)


def test_one_held_out_clip_says_nothing_of_variance_and_one_to_learn_from_is_refused() -> None:
    latents, imagined, batch = given(slice(0, 1))
    term = made("VarianceCovariance").eval()
    assert term(latents, imagined, batch) == 0
    with pytest.raises(UserError, match="sets of 1 samples"):
        term.train()(latents, imagined, batch)
    assert made("VarianceCovariance, over time").eval()(latents, imagined, batch) == 0


def test_what_all_clips_do_alike_is_no_variation_over_time() -> None:
    latents, imagined, batch = given()
    together = torch.arange(4.0).mul(9)[:, None, None].expand_as(latents[0])
    term = made("VarianceCovariance, over time")
    torch.testing.assert_close(term(latents + together, imagined, batch), term(latents, imagined, batch))
