"""Published predictors: a training goes on from a checkpoint at the loss that its own code would have."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from formula import fill, pixels
from given import Given
from torch import Tensor

from jepa_wm.encoders import Rope, SinCos, ViT, load_encoder
from jepa_wm.errors import UserError
from jepa_wm.objectives import MaskedLatentPrediction, PredictorOptions
from jepa_wm.objectives.load import load_predictor
from jepa_wm.schedules import Constant

GOLDEN = Path(__file__).parents[1] / "golden"


def checkpoint(path: Path, data: dict[str, Any], prefix: str, table: Tensor | None) -> str:
    shapes = data["parameters"]
    parts = {part: fill(shapes[part], f"{part}.") for part in ("encoder", "target_encoder", "predictor")}
    if table is not None:
        parts = {part: state | {"pos_embed": table} for part, state in parts.items() if part != "predictor"} | {
            "predictor": parts["predictor"] | {"predictor_pos_embed": table}
        }
    torch.save({part: {prefix + k: v for k, v in state.items()} for part, state in parts.items()}, path)
    return str(path)


def resumed(path: str, masks: list[Given], error: str, heads: int) -> MaskedLatentPrediction:
    encoder = load_encoder(path, "context", heads=4)
    objective = MaskedLatentPrediction(encoder, masks, PredictorOptions(8, 1, 2), error=error)
    objective.teacher = load_encoder(path, "target", heads=4).requires_grad_(False)
    objective.predictor = load_predictor(path, encoder, heads)
    return objective


def test_i_jepa(tmp_path: Path) -> None:
    data = json.loads((GOLDEN / "ijepa.json").read_text())
    inputs, table = data["inputs"], SinCos(2).additive((1, 6, 6), 48)[None]
    path = checkpoint(tmp_path / "ijepa.pth.tar", data, "module.", table)
    mask = Given(inputs["masks_enc"][0], torch.tensor(inputs["masks_pred"]).transpose(0, 1).tolist())
    objective = resumed(path, [mask], "smooth_l1", 4)
    images = pixels(inputs["images"]["pixels"], inputs["images"]["shape"])
    assert objective({"pixels": images, "step": 0})["loss"].item() == pytest.approx(data["numbers"]["loss"], rel=1e-7)
    assert load_predictor(path, objective.encoder).blocks[0].heads == 4


def test_v_jepa_2(tmp_path: Path) -> None:
    data = json.loads((GOLDEN / "vjepa2.json").read_text())
    inputs = data["inputs"]
    path = checkpoint(tmp_path / "vitl.pt", data, "module.backbone.", None)
    pairs = zip(inputs["masks_enc"], inputs["masks_pred"], strict=True)
    masks = [Given(keep, [[row] for row in predict]) for keep, predict in pairs]
    objective = resumed(path, masks, "l1", 2)
    clips = pixels(inputs["clips"]["pixels"], inputs["clips"]["shape"]).transpose(1, 2)
    assert objective({"pixels": clips, "step": 0})["loss"].item() == pytest.approx(data["numbers"]["loss"], rel=1e-7)
    assert load_predictor(path, objective.encoder).blocks[0].heads == 12


@torch.no_grad()
def test_hugging_faces_v_jepa_2(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.VJEPA2Config(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        crop_size=48,
        patch_size=8,
        frames_per_clip=8,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=2,
        pred_num_mask_tokens=1,
        pred_zero_init_mask_tokens=False,
    )
    torch.manual_seed(0)
    model = transformers.VJEPA2Model(config).double().eval()
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    predictor = load_predictor(f"hf:{tmp_path}", encoder)
    order = torch.stack([torch.randperm(144) for _ in range(2)])
    keep, predict = order[:, :40], order[:, 40:]
    hidden = encoder(torch.randint(0, 256, (2, 8, 3, 48, 48), dtype=torch.uint8))
    theirs = model.predictor(hidden, [keep], [predict]).last_hidden_state
    visible = hidden.gather(1, keep[..., None].expand(-1, -1, 48))
    ours, _ = predictor(visible, keep, predict[:, None], (4, 6, 6))
    torch.testing.assert_close(ours[:, 0], theirs, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_v_jepa_2_1(tmp_path: Path) -> None:
    """All of its predictor is ours by other names, so what is saved from ours under its names comes back."""
    encoder = ViT(8, 2, 24, 4, 2, positions=Rope(pretrained=6), modalities=True, levels=(0, 1, 2))
    ours = MaskedLatentPrediction(encoder, None, PredictorOptions(16, 2, 2), context=Constant(1.0)).predictor
    names = {"enter": "embed", "blocks": "blocks", "norm": "norm", "leave": "proj", "leave_context": "proj_context"}
    state = {
        f"predictor_{names[name.partition('.')[0]]}.{name.partition('.')[2]}": torch.randn_like(value)
        for name, value in ours.state_dict().items()
        if name.partition(".")[0] in names
    }
    tokens = {f"mask_tokens.{i}": torch.randn(1, 1, 16) for i in range(8)}
    kinds = {f"{kind}_mod_embed": torch.randn(1, 1, 16) for kind in ("img", "video")}
    state |= tokens | kinds
    torch.save({"predictor": {f"module.backbone.{k}": v for k, v in state.items()}}, tmp_path / "vjepa2_1.pt")
    found = load_predictor(str(tmp_path / "vjepa2_1.pt"), encoder, heads=2)
    assert found.leave_context is not None and torch.equal(found.enter[2].weight, state["predictor_embed.2.weight"])
    assert torch.equal(found.mask_token, tokens["mask_tokens.0"][0, 0])
    assert torch.equal(found.modality[1], kinds["video_mod_embed"][0, 0])
    assert torch.equal(found.leave_context.weight, state["predictor_proj_context.weight"])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    data = json.loads((GOLDEN / "vjepa2.json").read_text())
    path = checkpoint(tmp_path / "vitl.pt", data, "module.backbone.", None)
    with pytest.raises(UserError, match="does not fit this encoder"):
        load_predictor(path, ViT(8, 2, 24, 1, 2, positions=Rope(tiled=True)))
    torch.save({"encoder": {"x": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="holds no predictor; it holds encoder"):
        load_predictor(str(tmp_path / "other.pt"), ViT(dim=24, depth=1, heads=2))
