"""A step of V-JEPA 2.1's published code, on clips and on images, at weights given by a formula; see tests/golden."""

import json
from pathlib import Path

import pytest
import torch
from formula import fill, matches, pixels
from given import Given
from torch import Tensor, nn

from jepa_wm.encoders import load_encoder
from jepa_wm.objectives import ImageSteps, MaskedLatentPrediction, PredictorOptions
from jepa_wm.objectives.load import load_predictor
from jepa_wm.objectives.masked import distances
from jepa_wm.objectives.predictor import levels_of, normalised
from jepa_wm.schedules import Constant, Ramp

DATA = json.loads((Path(__file__).parents[1] / "golden" / "vjepa21.json").read_text())
INPUTS, LEVELS = DATA["inputs"], 4

ENCODER = {
    "patch_embed.proj": "embed",
    "patch_embed_img.proj": "image_embed",
    **{f"norms_block.{level}": f"level_norms.{level}" for level in range(LEVELS - 1)},
    "norms_block.3": "norm",
}
PREDICTOR = {
    "predictor_embed": "enter",
    "predictor_blocks": "blocks",
    "predictor_norm": "norm",
    "predictor_proj": "leave",
    "predictor_proj_context": "leave_context",
    "mask_tokens.0": "mask_token",
}


def given(kind: str) -> list[Given]:
    pairs = zip(INPUTS[f"{kind}_masks_enc"], INPUTS[f"{kind}_masks_pred"], strict=True)
    return [Given(keep, [[row] for row in predict]) for keep, predict in pairs]


def seen(kind: str) -> Tensor:
    return pixels(INPUTS[kind]["pixels"], INPUTS[kind]["shape"]).transpose(1, 2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file as the official training loop writes it."""
    path = tmp_path_factory.mktemp("vjepa21") / "latest.pth.tar"
    parts = {part: fill(shapes, f"{part}.") for part, shapes in DATA["parameters"].items()}
    torch.save({part: {f"module.backbone.{k}": v for k, v in state.items()} for part, state in parts.items()}, path)
    return str(path)


def resumed(checkpoint: str) -> MaskedLatentPrediction:
    encoder, weight = load_encoder(checkpoint, "context", heads=3), Constant(DATA["weight"])
    images = ImageSteps(0.0, given("images"))
    size = PredictorOptions(8, 1, 2)
    objective = MaskedLatentPrediction(encoder, given("clips"), size, context=weight, images=images)  # type: ignore
    objective.teacher = load_encoder(checkpoint, "target", heads=3).requires_grad_(False)
    objective.predictor = load_predictor(checkpoint, encoder, heads=2)
    return objective


@pytest.mark.parametrize("kind", ["clips", "images"])
def test_a_step(kind: str, checkpoint: str) -> None:
    numbers, objective, inputs = DATA["numbers"][kind], resumed(checkpoint), seen(kind)
    assert matches(numbers["targets"], normalised(levels_of(objective.teacher, inputs), 48), 1e-6)
    for context, away, mask in zip(numbers["encoder(inputs, masks)"], numbers["distances"], given(kind), strict=True):
        assert matches(context, levels_of(objective.encoder, inputs, mask.mask.keep), 1e-6)
        found = distances(mask.mask, objective.encoder.grid_of(inputs))[:, 0]
        assert matches(away, found.double().sqrt(), 1e-6)
    terms = objective({"pixels": inputs, "step": 0, "progress": 1.0})
    for ours, theirs in (("hidden", "loss_pred"), ("visible", "loss_context"), ("loss", "loss")):
        assert terms[ours].item() == pytest.approx(numbers[theirs], rel=1e-6)
    terms["loss"].backward()
    norms = numbers["gradient_norms"]
    check(norms["encoder"], objective.encoder, ENCODER)
    check(norms["predictor"], objective.predictor, PREDICTOR)


def check(published: dict[str, float], module: nn.Module, names: dict[str, str]) -> None:
    """Norms of gradients, of what has any; the vectors of images and clips are two tensors there, rows of one here."""
    ours = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    modality = ours.pop("modality")
    ours |= {f"{kind}_mod_embed": modality[row] for row, kind in enumerate(("img", "video"))}
    expected = {renamed(name, names): norm for name, norm in published.items() if norm > 0.0}
    found = {name: float(gradient.norm()) for name, gradient in ours.items() if gradient.any()}
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-10) and len(found) > 40


def renamed(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        if name == old or name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    return name


def test_the_weight_of_visible_tokens_rises_as_published() -> None:
    ramp = Ramp(0.0, DATA["weight"], 15000 / 135000, 30000 / 135000)
    for step, weight in DATA["schedule"]:
        assert ramp(step / 135000) == pytest.approx(weight, abs=1e-9)
