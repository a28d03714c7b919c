"""Losses and gradients of the published implementations, at weights given by a formula; see tests/golden."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from formula import fill, matches, pixels, tensor
from given import Given
from torch import Tensor, nn

from jepa_wm.data.transforms import MultiCrop
from jepa_wm.encoders import BlockOptions, Rope, SinCos, ViT
from jepa_wm.encoders.vit import Encoded
from jepa_wm.losses import SIGReg, cross_entropy, cross_views, gram, koleo, sinkhorn
from jepa_wm.objectives import (
    GramAnchor,
    LeJEPA,
    MaskedLatentPrediction,
    PredictorOptions,
    PrototypeOptions,
    SelfDistillation,
)
from jepa_wm.objectives.heads import PrototypeHead
from jepa_wm.schedules import Constant

GOLDEN = Path(__file__).parents[1] / "golden"
EXACT = {"rtol": 1e-9, "atol": 1e-11}
TO_FLOAT32 = {"rtol": 1e-5, "atol": 1e-8}
"""Where a table or a statistic is in float32 here."""


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def norms(module: nn.Module) -> dict[str, float]:
    return {name: float(p.grad.norm()) for name, p in module.named_parameters() if p.grad is not None}


def encoder_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A published encoder's tensors by our names."""
    renamed = {name.replace("patch_embed.proj", "embed"): value for name, value in state.items()}
    return renamed | {"embed.weight": renamed["embed.weight"].flatten(1)}


PREDICTOR = {
    "predictor_embed": "enter",
    "predictor_blocks": "blocks",
    "predictor_norm": "norm",
    "predictor_proj": "leave",
}


def predictor_name(name: str) -> str:
    first, _, rest = name.partition(".")
    if first in ("mask_token", "mask_tokens"):
        return "mask_token"
    return f"{PREDICTOR[first]}.{rest}"


def predictor_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A published predictor's tensors by our names; of several mask tokens the first."""
    found = {predictor_name(name): value for name, value in state.items() if name != "mask_tokens.1"}
    return found | {"mask_token": found["mask_token"].flatten()}


def masked(data: dict, vit: ViT, objective: MaskedLatentPrediction, shapes: dict) -> MaskedLatentPrediction:
    objective.double()
    for part, module in (("encoder", vit), ("target_encoder", objective.teacher)):
        module.load_state_dict(encoder_state(fill(shapes[part], part + ".")))
    objective.predictor.load_state_dict(predictor_state(fill(shapes["predictor"], "predictor.")))
    return objective


def test_a_step_of_i_jepa() -> None:
    data = golden("ijepa")
    inputs, numbers = data["inputs"], data["numbers"]
    vit = ViT(8, 1, 48, 3, 4, positions=SinCos(2))
    # Published: for each mask a list of samples; here: for each sample a list of masks.
    mask = Given(inputs["masks_enc"][0], torch.tensor(inputs["masks_pred"]).transpose(0, 1).tolist())
    objective = MaskedLatentPrediction(vit, [mask], PredictorOptions(24, 2, 4), Constant(0.996), "smooth_l1")
    masked(data, vit, objective, data["parameters"])
    images = pixels(inputs["images"]["pixels"], inputs["images"]["shape"])
    assert matches(numbers["encoder(images)"], vit(images), 1e-7)
    loss = objective({"pixels": images, "step": 0})["loss"]
    assert loss.item() == pytest.approx(numbers["loss"], rel=1e-7)
    loss.backward()
    check_gradients(numbers["gradient_norms"], vit, objective)
    objective.after_step(0.5)
    name = "blocks.0.attn.qkv.weight"
    assert matches(numbers["ema"][name], dict(objective.teacher.named_parameters())[name])


def check_gradients(expected: dict, vit: ViT, objective: MaskedLatentPrediction) -> None:
    ours = norms(vit), norms(objective.predictor)
    theirs = (
        {name.replace("patch_embed.proj", "embed"): norm for name, norm in expected["encoder"].items()},
        {predictor_name(name): norm for name, norm in expected["predictor"].items() if name != "mask_tokens.1"},
    )
    for mine, published in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(published, rel=1e-5, abs=1e-10)


@pytest.mark.parametrize("key", ["numbers", "numbers_interleaved", "numbers_partial"])
def test_a_step_of_v_jepa_2(key: str) -> None:
    data = golden("vjepa2")
    inputs, numbers = data["inputs"], data[key]
    partial = key == "numbers_partial"
    shapes = {part: dict(names) for part, names in data["parameters"].items()}
    for part, names in data["parameters_partial"].items() if partial else ():
        shapes[part] |= names
    config = data["config_partial" if partial else "config"]
    rope = Rope(tiled=key != "numbers_interleaved")
    vit = ViT(8, 2, 48, 3, config["encoder"]["num_heads"], positions=rope)
    masks = [
        Given(keep, [[row] for row in predict])
        for keep, predict in zip(inputs["masks_enc"], inputs["masks_pred"], strict=True)
    ]
    size = config["predictor"]
    options = PredictorOptions(size["predictor_embed_dim"], size["depth"], size["num_heads"])
    objective = masked(data, vit, MaskedLatentPrediction(vit, masks, options), shapes)
    clips = pixels(inputs["clips"]["pixels"], inputs["clips"]["shape"]).transpose(1, 2)
    loss = objective({"pixels": clips, "step": 0})["loss"]
    assert loss.item() == pytest.approx(numbers["loss"], rel=1e-7)
    loss.backward()
    check_gradients(numbers["gradient_norms"], vit, objective)
    if not partial:
        short = pixels(inputs["short"]["pixels"], inputs["short"]["shape"]).transpose(1, 2)
        assert matches(numbers["encoder(short)"], vit(short), 1e-6)
        still = pixels(inputs["image"]["pixels"], inputs["image"]["shape"])
        assert matches(numbers["encoder(still)"], vit(still), 1e-6)


def test_the_encoder_of_v_jepa_1() -> None:
    data = golden("jepa")
    vit = ViT(8, 2, 48, 3, 4, positions=SinCos(3)).double()
    vit.load_state_dict(encoder_state(fill(data["parameters"]["encoder"], "encoder.")))
    clips = data["inputs"]["clips"]
    assert matches(
        data["numbers"]["encoder(clips)"], vit(pixels(clips["pixels"], clips["shape"]).transpose(1, 2)), 1e-7
    )


def leaves(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    return {name.partition(".")[2]: tensor(name, shape).requires_grad_() for name, shape in shapes.items()}


def check(loss: Tensor, expected: dict, inputs: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    """The loss, and the gradient of each input that the reference has."""
    assert loss.item() == pytest.approx(expected["loss"], rel=tolerance)
    names = list(expected["gradients"])
    for name, gradient in zip(names, torch.autograd.grad(loss, [inputs[name] for name in names]), strict=True):
        assert float(gradient.norm()) == pytest.approx(expected["gradients"][name]["norm"], rel=10 * tolerance)
        assert matches(expected["gradients"][name], gradient, 10 * tolerance), name


class TestSelfDistillation:
    data = golden("dinov3")
    numbers = data["numbers"]

    def inputs(self) -> dict[str, Tensor]:
        return leaves(self.data["inputs"]["tensors"])

    def targets(self, name: str) -> Tensor:
        return sinkhorn(self.inputs()[name].flatten(0, -2), 0.07)

    def test_sinkhorns_assignments(self) -> None:
        assert matches(self.numbers["dino.targets"], self.targets("teacher_global"))
        assert matches(self.numbers["ibot.targets"], self.targets("teacher_masked"))

    def test_dino(self) -> None:
        x, targets = self.inputs(), self.targets("teacher_global").unflatten(0, (2, 4))
        large = cross_views(x["student_global"], targets, 0.1, same=True)
        check(large, self.numbers["dino.global"], x)
        check(cross_views(x["student_global"], targets, 0.1, False), self.numbers["dino.global_with_diagonal"], x)
        check(cross_views(x["student_local"], targets, 0.1, same=False), self.numbers["dino.local"], x)

    def test_ibot(self) -> None:
        x = self.inputs()
        terms = cross_entropy(x["student_masked"], self.targets("teacher_masked"), 0.1)
        counts = torch.tensor([len(row) for row in self.data["inputs"]["masked"] for _ in row])
        check((terms / counts).sum() / 8, self.numbers["ibot"], x)

    def test_koleo(self) -> None:
        x = self.inputs()
        check(koleo(x["koleo"]), self.numbers["koleo"], x)

    @pytest.mark.parametrize(("name", "negative"), [("gram.defaults", False), ("gram.anchor", True)])
    def test_gram(self, name: str, negative: bool) -> None:
        x = self.inputs()
        check(gram(x["student_patches"], x["teacher_patches"].detach(), negative), self.numbers[name], x)

    def test_the_head(self) -> None:
        head = PrototypeHead(16, 32, 24, 12).double()
        head.load_state_dict(fill(self.data["parameters"]["head"], "head."))
        x = self.inputs()["head"]
        out = head(x)
        assert matches(self.numbers["head"]["output"], out)
        gradient = torch.autograd.grad(out.square().mean(), x)[0]
        assert matches(self.numbers["head"]["gradients_of_mean_square"]["head"], gradient)

    def test_the_whole_loss(self) -> None:
        x, numbers = leaves(self.data["inputs"]["whole"]), self.numbers["whole"]
        student, teacher = (Spoken(x, who) for who in ("student", "teacher"))
        heads = PrototypeOptions(32, 4, 4, teacher=Constant(0.07))
        masks = Hidden(self.data["inputs"]["masked"])
        objective = SelfDistillation(student, MultiCrop(3, 1), heads, masks, gram=GramAnchor(Constant(1.0)))
        objective.teacher.encoder = objective.anchor = teacher
        for side in (objective.student, objective.teacher):
            for part, name in (("view_head", "whole.dino_head"), ("patch_head", "whole.ibot_head")):
                linear = nn.Linear(16, 32, bias=False, dtype=torch.float64)
                linear.load_state_dict({"weight": fill({name: [32, 16]})[name]})
                setattr(side, part, linear)
        views = {"views": torch.zeros(4, 2, 3, 3, 3), "local_views": torch.zeros(4, 4, 3, 1, 1)}
        terms = objective({**views, "step": 0, "progress": 0.0})
        check(terms["loss"], numbers, x)


class Hidden:
    """Hidden patches that are written down: row by row of all views."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.hidden = torch.zeros(len(rows), 9, dtype=torch.bool)
        for row, places in zip(self.hidden, rows, strict=True):
            row[places] = True

    def draw(self, grid: tuple, batch: int, generator: torch.Generator) -> Tensor:
        return self.hidden


class Spoken(nn.Module):
    """An encoder that says what was written down, whatever it sees."""

    patch, dim, latent_dim = 1, 16, 16

    def __init__(self, said: dict[str, Tensor], who: str) -> None:
        super().__init__()
        self.said, self.who = said, who

    def __deepcopy__(self, memo: dict) -> "Spoken":
        return self

    def grid_of(self, pixels: Tensor) -> tuple[int, int, int]:
        return 1, *pixels.shape[-2:]

    def embedded(self, pixels: Tensor) -> Tensor:
        return torch.zeros(len(pixels), 9, 16, dtype=torch.float64)

    def transform(self, tokens: Tensor, grid: tuple) -> Encoded:
        said = self.said[f"{self.who}_cls"].flatten(0, 1)[:, None], self.said[f"{self.who}_patches"]
        return Encoded(*said, levels=())

    def encode(self, pixels: Tensor) -> Encoded:
        return self.transform(self.embedded(pixels), self.grid_of(pixels))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.encode(pixels).patches

    def pool(self, prefix: Tensor, patches: Tensor, grid: tuple) -> Tensor:
        return prefix[:, 0]

    def pooled(self, pixels: Tensor) -> Tensor:
        return self.said["student_local_cls"].flatten(0, 1)


class TestLeJEPA:
    data = golden("lejepa")
    numbers = data["numbers"]

    def given(self, module: SIGReg) -> SIGReg:
        module.directions = lambda width, step: tensor("lejepa.directions", [16, 32])  # type: ignore[method-assign]
        return module

    @pytest.mark.parametrize("key", ["sliced", "sliced.shifted"])
    def test_sigreg(self, key: str) -> None:
        x = tensor("lejepa.x", [64, 16])
        x = (3 * x + 0.5 if key.endswith("shifted") else x).requires_grad_()
        loss = self.given(SIGReg(32))(x[None], 0)
        expected = {"loss": self.numbers[key]["mean"], "gradients": self.numbers[key]["gradients_of_mean"]}
        check(loss, expected, {"x": x}, 1e-6)

    def test_the_loss(self) -> None:
        proj = tensor("lejepa.proj", [4, 64, 16]).requires_grad_()
        objective = LeJEPA(ViT(8, 1, 16, 1, 2, BlockOptions()), weight=0.02, width=16, slices=32, centre="all")
        self.given(objective.gaussianity)
        objective.projector = Said(proj.flatten(0, 1))
        terms = objective({"views": torch.zeros(64, 4, 3, 8, 8, dtype=torch.uint8), "step": 0})
        expected = {"loss": self.numbers["loss"]["total"], "gradients": self.numbers["loss"]["gradients"]}
        check(terms["loss"], expected, {"proj": proj}, 1e-6)
        assert terms["invariance"].item() == pytest.approx(self.numbers["loss"]["sim"], rel=1e-6)
        assert terms["sigreg"].item() == pytest.approx(self.numbers["loss"]["sigreg"], rel=1e-6)


class Said(nn.Module):
    """A head that says what was written down."""

    def __init__(self, said: Tensor) -> None:
        super().__init__()
        self.said = said

    def forward(self, x: Tensor) -> Tensor:
        return self.said
