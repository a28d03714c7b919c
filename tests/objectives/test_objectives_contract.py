"""What every objective promises: gradients for what it trains, and two ranks that are one process with the whole batch.

A new objective is found by itself; all it needs is a small instance of its own in `CASES`.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

import jepa_wm
from jepa_wm.contracts import Batch, Dynamics, LatentTerm, Objective
from jepa_wm.data.masks import BlockwiseMask, MultiBlockMask, TubeMask
from jepa_wm.data.transforms import MultiCrop
from jepa_wm.dynamics import Ensemble, LeWMDynamics, TransformerDynamics, Trunk
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encoders import ClassPool, ClipText, GridPool, PooledFrames, ProjectedPool, Rope, TextAlignment, ViT
from jepa_wm.objectives import (
    ContrastiveText,
    Forecasting,
    GramAnchor,
    LeJEPA,
    MaskedLatentPrediction,
    MaskedSIGReg,
    PredictorOptions,
    Proposing,
    PrototypeOptions,
    Reading,
    Rollout,
    SelfDistillation,
    TeacherAlignment,
)
from jepa_wm.objectives.terms import GaussianLatents, InverseDynamics, TimeSimilarity, VarianceCovariance
from jepa_wm.schedules import Constant

ROOT = Path(inspect.getfile(jepa_wm)).parent
OBJECTIVES = [
    cls
    for path in sorted((ROOT / "objectives").glob("*.py"))
    for cls in vars(import_module(f"jepa_wm.objectives.{path.stem}")).values()
    if inspect.isclass(cls) and issubclass(cls, Objective) and cls.__module__ == f"jepa_wm.objectives.{path.stem}"
]
SMALL = PredictorOptions(12, 1, 2)


def vit(**options: object) -> ViT:
    return ViT(8, 1, 24, 2, 2, **{"pooling": GridPool(6, 2)} | options)  # type: ignore[arg-type]


def text() -> TextAlignment:
    return TextAlignment(6, ClipText(8, 16, 1, 2))


def self_distillation() -> SelfDistillation:
    encoder = ViT(8, 1, 24, 1, 2, prefix=2, pooling=ClassPool())
    options = PrototypeOptions(16, 12, 8, teacher=Constant(0.2))
    masks = BlockwiseMask(ratio=(0.3, 0.6))
    objective = SelfDistillation(encoder, MultiCrop(16, 8, 2), options, masks, gram=GramAnchor(Constant(1.0)))
    # At first teacher and student say the same, and the heads next to nothing.
    for parameter in [*objective.teacher.parameters(), *objective.anchor.parameters()]:  # type: ignore[union-attr]
        parameter.data += 0.1 * torch.randn(parameter.shape)
    for side in (objective.student, objective.teacher):
        for head in (side.view_head, side.patch_head):
            head.last_layer.weight.data.normal_()
    return objective


def forecasting(dynamics: Dynamics, rollout: float = 1.0, **terms: LatentTerm) -> Forecasting:
    # At first predictors say that nothing moves, and what is below their last layer learns nothing.
    for parameter in dynamics.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    # The projector of LeWM, in which ranks meet.
    encoder, terms = vit(prefix=1, pooling=ProjectedPool(6, 16)), terms or {"sigreg": GaussianLatents()}
    return Forecasting(encoder, dynamics, terms, rollout=Rollout(rollout))


def transformer() -> TransformerDynamics:
    return TransformerDynamics(6, (1, 1), 2, 3, Trunk(12, 1, 2))


def lewm() -> LeWMDynamics:
    return LeWMDynamics(6, 2, 3, depth=1, heads=2, head_dim=4, hidden=16, window=2, dropout=0.0)


def proposing() -> Proposing:
    model = torch.nn.ModuleDict({"dynamics": transformer(), "frames": PooledFrames()})
    return Proposing(vit(), model, Proposal(6, 1, 2, 3, longest=2, width=16))


CASES: dict[str, Callable[[], Objective]] = {
    "MaskedLatentPrediction": lambda: MaskedLatentPrediction(vit(), [TubeMask(4, 0.15), TubeMask(2, 0.3)], SMALL),
    "MaskedLatentPrediction, I-JEPA": lambda: MaskedLatentPrediction(
        vit(), [MultiBlockMask(scale=(0.15, 0.3), least=1)], SMALL, error="smooth_l1"
    ),
    "MaskedLatentPrediction, V-JEPA 2.1": lambda: MaskedLatentPrediction(
        vit(levels=(0,), modalities=True, positions=Rope()), [TubeMask(4, 0.15)], SMALL, context=Constant(0.5)
    ),
    "MaskedSIGReg": lambda: MaskedSIGReg(vit(), [TubeMask(4, 0.15)], SMALL, 0.1, 8, 16),
    "LeJEPA": lambda: LeJEPA(vit(), MultiCrop(16, 8, 2), 0.1, 8, 16, 16),
    "SelfDistillation": self_distillation,
    "ContrastiveText": lambda: ContrastiveText(vit(), text(), sigreg=0.1),
    "ContrastiveText, SigLIP in chunks": lambda: ContrastiveText(vit(), text(), "siglip", chunk=2),
    "TeacherAlignment": lambda: TeacherAlignment(vit(), ViT(16, 1, 32, 1, 2)),
    "Forecasting": lambda: forecasting(transformer()),
    "Forecasting, an ensemble": lambda: forecasting(Ensemble(transformer(), 2)),
    "Forecasting, LeWM": lambda: forecasting(lewm(), rollout=0.0),
    "Forecasting, an ensemble of LeWM's": lambda: forecasting(Ensemble(lewm(), 2)),
    "Forecasting, PLDM": lambda: forecasting(
        transformer(),
        spread=VarianceCovariance(time_variance=0.7, time_covariance=0.3),
        slowness=TimeSimilarity(),
        actions=InverseDynamics(6, 1, 2, 3, 16),
    ),
    "Proposing": proposing,
    "Reading": lambda: Reading(
        vit(prefix=1, pooling=ProjectedPool(6, 16)),
        {"sigreg": GaussianLatents(), "actions": InverseDynamics(6, 1, 2, 3, 16, weight=0.5)},
    ),
}
every_case = pytest.mark.parametrize("case", CASES)


def made(case: str) -> Objective:
    torch.manual_seed(0)
    return CASES[case]().double().train()


def batch(samples: slice = slice(None), step: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    words = ["left", "right", "red", "top", "blue", "big", "small", "door"]
    whole = {
        "pixels": torch.randint(0, 256, (8, 3, 3, 32, 32), dtype=torch.uint8, generator=generator),
        "views": torch.randint(0, 256, (8, 2, 3, 16, 16), dtype=torch.uint8, generator=generator),
        "local_views": torch.randint(0, 256, (8, 2, 3, 8, 8), dtype=torch.uint8, generator=generator),
        "actions": torch.randn(8, 2, 6, generator=generator),
        "captions": [[f"{words[i]} {t}" for t in range(3)] for i in range(8)],
    }
    return {name: members[samples] for name, members in whole.items()} | {"step": step, "progress": 0.5}


def gradients(objective: Objective) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


def test_each_objective_has_a_case() -> None:
    assert {cls.__name__ for cls in OBJECTIVES} == {case.partition(",")[0] for case in CASES}


@every_case
def test_it_trains_the_encoder_and_nothing_that_is_frozen(case: str) -> None:
    objective = made(case)
    terms = objective(batch())
    assert terms["loss"].requires_grad and all(value.ndim == 0 for value in terms.values())
    terms["loss"].backward()
    found = gradients(objective)
    encoder = {id(p): name for name, p in objective.encoder.named_parameters()}  # type: ignore[union-attr]
    used = {encoder[id(p)] for p in objective.parameters() if p.grad is not None and id(p) in encoder}
    # Pooling is not every objective's, nor is the embedding of images.
    trained = {name for name in encoder.values() if name.startswith(("embed", "blocks"))}
    assert used == set() if objective.encoder in objective.frozen() else trained <= used
    assert not any(name.startswith(("teacher", "anchor")) for name in found)
    assert set(objective.exported()) >= {"encoder"}


@every_case
def test_what_is_frozen_stays_in_eval_mode_and_all_else_trains(case: str) -> None:
    for module in made(case).modules():
        if trained := [parameter.requires_grad for parameter in module.parameters()]:
            assert module.training == any(trained)


@every_case
def test_the_step_decides_what_is_drawn(case: str) -> None:
    objective = made(case).eval()
    losses = [objective(batch(step=step))["loss"].item() for step in (3, 3, 6)]
    assert losses[0] == losses[1]
    if case not in ("TeacherAlignment", "ContrastiveText, SigLIP in chunks", "Forecasting, PLDM", "Proposing"):
        assert losses[0] != losses[2]


Left = tuple[float, dict[str, torch.Tensor]]
"""A step's loss, and what it leaves behind: gradients, and buffers such as the running statistics of a BatchNorm."""


def step(objective: Objective, forward: Callable, samples: slice = slice(None)) -> Left:
    loss = forward(batch(samples))["loss"]
    loss.backward()
    buffers = {name: buffer for name, buffer in objective.named_buffers() if buffer.is_floating_point()}
    return loss.item(), gradients(objective) | buffers


def on_a_rank(rank: int) -> dict[str, Left]:
    found = {}
    for case in CASES:
        objective = made(case)
        parallel = DistributedDataParallel(objective, find_unused_parameters=True)
        found[case] = step(objective, parallel, slice(4 * rank, 4 * rank + 4))
    return found


@pytest.fixture(scope="module")
def two_ranks(on_two_ranks: Callable) -> list[dict[str, Left]]:
    return on_two_ranks(on_a_rank)


@every_case
def test_two_ranks_are_one_process_with_twice_the_batch(case: str, two_ranks: list[dict[str, Left]]) -> None:
    objective = made(case)
    loss, left = step(objective, objective)
    assert sum(found[case][0] for found in two_ranks) / 2 == pytest.approx(loss, rel=1e-10)
    for found in two_ranks:
        for name, expected in left.items():
            torch.testing.assert_close(found[case][1][name], expected, rtol=1e-9, atol=1e-11, msg=name)
