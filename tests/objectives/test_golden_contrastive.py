"""CLIP and SigLIP held against open_clip's whole model: loss and the gradient of every parameter; see tests/golden."""

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from formula import fill, matches, pixels
from reference import float_means_double
from torch import Tensor

from jepa_wm.encoders import BlockOptions, ClassPool, ClipText, Learned, TextAlignment, ViT
from jepa_wm.objectives import ContrastiveText

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "contrastive.json").read_text())
INPUTS = GOLDEN["inputs"]

NAMES = (
    (r"^logit_", "contrast.logit_"),
    (r"^text\.", "text.tower.tower."),
    (r"^visual\.conv1\.", "encoder.embed."),
    (r"^visual\.transformer\.resblocks\.", "encoder.blocks."),
    (r"^visual\.ln_post\.", "encoder.norm."),
    (r"^visual\.proj$", "text.head.weight"),
    (r"^(encoder.*)\.ln_([12])\.", r"\1.norm\2."),
    (r"^(encoder.*)\.attn\.in_proj_", r"\1.attn.qkv."),
    (r"^(encoder.*)\.attn\.out_proj\.", r"\1.attn.proj."),
    (r"^(encoder.*)\.mlp\.c_fc\.", r"\1.mlp.fc1."),
    (r"^(encoder.*)\.mlp\.c_proj\.", r"\1.mlp.fc2."),
)
CLASS, POSITIONS = "visual.class_embedding", "visual.positional_embedding"


def our_name(name: str) -> str:
    for theirs, ours in NAMES:
        name = re.sub(theirs, ours, name)
    return name


def our_state(objective: ContrastiveText) -> dict[str, Tensor]:
    """open_clip's towers by our names: its kernel is ours made flat, and has no bias; the class has a position."""
    state: dict[str, Tensor] = {}
    for part in ("visual", "text"):
        filled = fill(GOLDEN["parameters"][part], f"{part}.")
        state |= {f"{part}.{name}": value for name, value in filled.items()}
    first, *rest = state[POSITIONS]
    prefix = state.pop(CLASS) + first
    del state[POSITIONS]
    ours = {our_name(name): value for name, value in state.items()}
    ours["encoder.embed.weight"] = ours["encoder.embed.weight"].flatten(1)
    ours["encoder.embed.bias"] = torch.zeros(len(prefix))
    ours["text.head.weight"] = ours["text.head.weight"].T
    ours |= {"encoder.prefix_tokens": prefix[None], "encoder.position_table": torch.stack(rest)}
    return objective.state_dict() | ours


def our_model(loss: Any, chunk: int | None) -> ContrastiveText:
    vision, text, width = (GOLDEN["config"][key] for key in ("vision", "text", "embed_dim"))
    heads, side = vision["width"] // vision["head_width"], vision["image_size"] // vision["patch_size"]
    encoder = ViT(
        vision["patch_size"], 1, vision["width"], vision["layers"], heads, BlockOptions(eps=1e-5),
        positions=Learned((1, side, side)), prefix=1, pooling=ClassPool(),
    )  # fmt: skip
    tower = ClipText(width, text["width"], text["layers"], text["heads"], text["context_length"])
    objective = ContrastiveText(encoder, TextAlignment(vision["width"], tower, hidden=0), loss, chunk=chunk).double()
    objective.load_state_dict(our_state(objective))
    return objective


# As it runs, the casts to float32 before the unit vectors included; and without these, to more digits.
@pytest.mark.parametrize(("casts", "tolerance"), [(nullcontext, 1e-5), (float_means_double, 1e-7)])
@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_loss_and_gradients_are_open_clips(loss: str, chunk: int | None, casts: Any, tolerance: float) -> None:
    numbers, objective = GOLDEN["numbers"][loss], our_model(loss, chunk)
    images = pixels(INPUTS["images"]["pixels"], INPUTS["images"]["shape"])
    with casts():
        assert matches(numbers["text_features"], objective.text.text(INPUTS["sentences"]), tolerance)
        latents = objective.encoder.pooled(images)[:, None]
        assert matches(numbers["image_features"], objective.text.image(latents), tolerance)
        value = objective({"pixels": images, "captions": INPUTS["sentences"], "step": 0})["loss"]
        value.backward()
    assert value.item() == pytest.approx(numbers["loss"], rel=tolerance)
    ours = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    # Of the class and its position only the sum is learned here, and open_clip has no such bias.
    one, places = ours.pop("encoder.prefix_tokens"), ours.pop("encoder.position_table")
    del ours["encoder.embed.bias"]
    found = {name: float(gradient.norm()) for name, gradient in ours.items()}
    found |= {our_name(CLASS): float(one.norm()), our_name(POSITIONS): float(torch.cat([one, places]).norm())}
    expected = {our_name(name): norm for name, norm in numbers["gradient_norms"].items()}
    assert found == pytest.approx(expected, rel=tolerance, abs=1e-10)
