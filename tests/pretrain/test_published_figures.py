"""The recipes have the figures of the configs and codes that they are named after.

Figures are copied out of the files named beside them, in the repositories of their authors. A schedule that is
stretched there (`ipe_scale`) is cut off where the training ends, which is worked out here.
"""

import math
from functools import cache
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torchvision.transforms import v2

from jepa_wm.objectives import ContrastiveText, Forecasting, LeJEPA
from jepa_wm.paths import config_root
from pretrain.module import Training


def cut(start: float, end: float, share: float) -> float:
    """Half a cosine from start to end, so far."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


TUBES = [(8, 0.15, (0.75, 1.5)), (2, 0.7, (0.75, 1.5))]
GIANT = (1408, 40, 22, 16, 2)

# A rate is that at the beginning, at its peak and at the end; a crop is side, scale and aspect.
# ijepa: configs/in1k_vith14_ep300.yaml; steps of src/train.py are the 1,281,167 images in batches of 2048; heads of the
# predictor are the encoder's (src/helper.py), which is src/models/vision_transformer.py's vit_huge.
IJEPA = {
    "batch": 16 * 128,
    "steps": 300 * (1281167 // 2048),
    "lr": (2e-4, 1e-3, 1e-6),
    "warm-up": 40 * 625,
    "weight decay": (0.04, 0.4),
    "average": (0.996, 1.0),
    "clip": None,
    "encoder": (1280, 32, 16, 14, 1),
    "predictor": (384, 12, 16),
    "masks": [(4, (0.15, 0.2), (0.75, 1.5), (0.85, 1.0), 10)],
    "crop": (224, (0.3, 1.0), (3 / 4, 4 / 3)),
    "flip": False,
}
# jepa: configs/pretrain/vitl16.yaml; ipe_scale 1.25 in app/vjepa/utils.py (rate, decay) and train.py (average,
# and the flip).
VJEPA = {
    "batch": 16 * 8 * 24,
    "steps": 300 * 300,
    "lr": (2e-4, 6.25e-4, cut(6.25e-4, 1e-6, (300 - 40) / (375 - 40))),
    "warm-up": 40 * 300,
    "weight decay": (0.04, cut(0.04, 0.4, 300 / 375)),
    "average": (0.998, 0.998 + 0.002 * 300 / 375),
    "clip": 10.0,
    "encoder": (1024, 24, 16, 16, 2),
    "predictor": (384, 12, 16),
    "masks": TUBES,
    "crop": (224, (0.3, 1.0), (0.75, 1.35)),
    "flip": True,
    "frames": (16, 4),
}
# vjepa2: configs/train/vitg16/pretrain-256px-16f.yaml; the flip is in app/vjepa/train.py, the encoder in
# src/models/vision_transformer.py (vit_giant_xformers). 4 frames a second are about every seventh of 30.
VJEPA2 = {
    "batch": 16 * 8 * 24,
    "steps": 800 * 300,
    "lr": (1e-4, 5.25e-4, 5.25e-4),
    "warm-up": 40 * 300,
    "weight decay": (0.04, 0.04),
    "average": (0.99925, 0.99925),
    "clip": None,
    "encoder": GIANT,
    "predictor": (384, 12, 12),
    "masks": TUBES,
    "crop": (256, (0.3, 1.0), (0.75, 1.35)),
    "flip": True,
    "frames": (16, 7),
}
# vjepa2: configs/train/vitg16/cooldown-384px-64f.yaml; the end of the rate is the config's, unstretched.
COOLDOWN = VJEPA2 | {
    "batch": 64 * 8 * 6,
    "steps": 40 * 300,
    "lr": (5.25e-4, 5.25e-4, 1e-6),
    "warm-up": 0,
    "crop": (384, (0.3, 1.0), (0.75, 1.35)),
    "frames": (64, 7),
}
# V-JEPA 2.1 (arXiv 2603.14482), its table of settings; vjepa2: configs/train_2_1/vitg16/pretrain-256px-16f.yaml, the
# batch, and the share and the masks of images; where the weight of visible tokens rises, app/vjepa_2_1/models/utils.
VJEPA21 = VJEPA2 | {
    "steps": 135000,
    "warm-up": 12000,
    "predictor": (384, 24, 12),
    "levels": (9, 19, 29),
    "context": (0.0, 0.5, 15000, 30000),
    "images": (0.5, [(10, 0.15, (0.75, 1.5))], 0.7),
}
# dinov3: dinov3/configs/train/vitl_im1k_lin834.yaml; the rate's rule, sqrt_wrt_1024, in dinov3/configs/config.py.
DINOV3 = {
    "batch": 4 * 8 * 64,
    "steps": 100 * 1250,
    "lr": (0.0, 1e-3 * 4 * math.sqrt(2048 / 1024), 1e-6),
    "warm-up": 10 * 1250,
    "weight decay": (0.04, 0.4),
    "average": (0.992, 1.0),
    "clip": 3.0,
    "layer decay": 0.9,
    "encoder": (1024, 24, 16, 16, 1),
    "views": (224, 96, 8, (0.32, 1.0), (0.05, 0.32), True),
    "temperature": (0.04, 0.07, 0.07),
    "hidden": (0.5, (0.1, 0.5)),
    "koleo": 0.1,
}
# dinov3: dinov3/configs/train/dinov3_vit7b16_gram_anchor.yaml, at this recipe's batch; dinov3/train/train.py applies
# the rule to these schedules too.
GRAM = {
    "lr": (3e-5 * 4 * math.sqrt(2048 / 1024),) * 3,
    "weight decay": (0.04, 0.04),
    "average": (0.999, 0.999),
    "layer decay": 0.98,
    "gram": (2.0, 10000 / 200000),
}
# rbalestr-lab/lejepa: README.md (training configuration, views); scripts/launch_proj_ablation.md: batch, epochs,
# lambda, slices, and the width of the projections, which is ablated there and 512 elsewhere.
LEJEPA = {
    "batch": 512,
    "steps": 100 * (1281167 // 512),
    "lr": (0.0, 5e-4, 5e-7),
    "weight decay": (0.05, 0.05),
    "encoder": (1024, 24, 16, 14, 1),
    "views": (224, 98, 6, (0.3, 1.0), (0.05, 0.3), True),
    "sigreg": (0.05, 512, 1024),
}

# CLIP, arXiv 2103.00020: batch, rate, decay, moments, text tower; open_clip: warm-up in steps and no clipping in its
# params.py, the crop in its transform.py. Steps are some 13 billion pairs, as in arXiv 2212.07143, in such batches.
CLIP = {
    "batch": 32768,
    "steps": 396000,
    "lr": (0.0, 5e-4, 0.0),
    "warm-up": 10000,
    "weight decay": (0.2, 0.2),
    "moments": (0.9, 0.98),
    "eps": 1e-6,
    "clip": None,
    "encoder": (768, 12, 12, 16, 1),
    "contrast": ("clip", None),
    "head": "Linear",
    "sentences": (512, 77),
    "text tower": (512, 12, 8),
    "crop": (224, (0.9, 1.0), (3 / 4, 4 / 3)),
}
# SigLIP, arXiv 2303.15343: batch, rate, decay, moments; some 9 billion pairs. big_vision takes 1e-4 off the weights at
# a step of the highest rate, 1e-3, and AdamW the rate times its decay. Clipping is configs/proj/image_text's.
SIGLIP = {
    "batch": 32768,
    "steps": 275000,
    "lr": (0.0, 1e-3, 0.0),
    "weight decay": (1e-4 / 1e-3, 1e-4 / 1e-3),
    "moments": (0.9, 0.95),
    "clip": 1.0,
    "encoder": (768, 12, 12, 16, 1),
    "contrast": ("siglip", None),
    "head": "Identity",
    "sentences": (768, 64),
}
# LiT, arXiv 2111.07991: batch, steps, rate, and decay as big_vision takes it.
LIT = {
    "batch": 16384,
    "steps": 55000,
    "lr": (0.0, 1e-3, 0.0),
    "weight decay": (1e-4 / 1e-3, 1e-4 / 1e-3),
    "contrast": ("clip", "image"),
    "head": "Identity",
}

# stable-worldmodel: scripts/train/config/lewm.yaml, scripts/train/lewm.py. A world model is its predictor's depth,
# heads, channels of a head, MLP, window and dropout; latents are the side of the pictures, and the width of a latent.
# Steps are the paper's 10 epochs of the 1.92 million windows of 18,685 episodes.
LEWM = {
    "batch": 128,
    "steps": 10 * (1920000 // 128),
    "lr": (0.0, 5e-5, 0.0),
    "warm-up": 0.01 * 10 * (1920000 // 128),
    "weight decay": (1e-3, 1e-3),
    "clip": 1.0,
    "encoder": (192, 12, 3, 14, 1),
    "world model": (6, 16, 64, 2048, 3, 0.1),
    "latents": (224, 192),
    "frames": (4, 5),
    "error": "mse_loss",
    "errors": (1.0, 0.0, False, False),
    "terms": {"sigreg": {"weight": 0.09, "slices": 1024}},
}
# stable-worldmodel: scripts/train/config/pldm.yaml, which is lewm.yaml but for the terms (arXiv 2603.19312, Table 2).
PLDM = LEWM | {
    "terms": {
        "spread": {"weight": 1.0, "variance": 18.0, "covariance": 12.0, "time_variance": 0.7, "time_covariance": 0.0},
        "slowness": {"weight": 0.2},
    },
}
# dino_wm: conf/train.yaml, conf/predictor/vit.yaml, datasets/img_transforms.py; what is optimised how in train.py;
# decay is PyTorch's default of AdamW; 100 epochs of the same windows.
DINOWM = {
    "batch": 32,
    "steps": 100 * (1920000 // 32),
    "lr": (5e-4, 5e-4, 5e-4),
    "warm-up": 0,
    "weight decay": (0.01, 0.01),
    "clip": None,
    "encoder": (384, 12, 6, 14, 1),
    "world model": (6, 16, 64, 2048, 3, 0.1),
    "latents": (224 // 16 * 14, 384 + 10),
    "action": 10,
    "frames": (4, 5),
    "error": "mse_loss",
    "errors": (1.0, 0.0, True, True),
}
# jepa-wms: configs/vjepa_wm/pt_sweep/pt_4f_fsk5_ask1_r224_vjtranoaug_predAdaLN_ftprop_depth6_repro_2roll_save.yaml;
# numbers of weights are those of its classes, less the blocks' own norms, which are in the modulation here. Its second
# step counts a half, which here is half of the mean of two.
JEPA_WM = {
    "batch": 4 * 8 * 8,
    "steps": 50 * 7500,
    "lr": (5e-4, 5e-4, 5e-4),
    "warm-up": 0,
    "weight decay": (1e-7, 1e-6),
    "clip": 1.0,
    "encoder": (384, 12, 6, 14, 1),
    "frames": (4, 5),
    "world model": (6, 16, (384 + 16) // 16, 4 * (384 + 16), 3, 0.0),
    "latents": (224, 384 + 16),
    "error": "mse_loss",
    "errors": (1 / 3, 2 * (1 / 2), False, True),
    "rollout": (2, 2, True),
    "weights": 17626480 - 6 * 2 * 2 * 400,
}
# vjepa2: configs/train/vitg16/droid-256px-8f.yaml; less the weights of cameras, which are never used. Its clips of 8
# frames train a window of 7.
VJEPA2_AC = {
    "batch": 4 * 8 * 8,
    "steps": 315 * 300,
    "lr": (7.5e-5, 4.25e-4, 0.0),
    "warm-up": 15 * 300,
    "weight decay": (0.04, 0.04),
    "clip": None,
    "encoder": GIANT,
    "frames": (8, 1),
    "world model": (24, 16, 64, 4096, 7, 0.0),
    "latents": (256, 1408),
    "error": "l1_loss",
    "errors": (1.0, 1.0, False, True),
    "rollout": (1, 2, False),
    "weights": 305220992 - (6 + 1) * 1024,
}

PUBLISHED: dict[str, dict[str, Any]] = {"ijepa_vith14": IJEPA, "vjepa_vitl16": VJEPA, "vjepa2_vitg16": VJEPA2}
PUBLISHED |= {"vjepa2_vitg16_cooldown": COOLDOWN, "dinov3_vitl16": DINOV3, "dinov3_gram": GRAM, "lejepa_vitl14": LEJEPA}
PUBLISHED |= {"vjepa21_vitg16": VJEPA21, "clip_vitb16": CLIP, "siglip_vitb16": SIGLIP, "lit": LIT}
PUBLISHED |= {"lewm_pusht": LEWM, "pldm_pusht": PLDM, "dinowm_pusht": DINOWM}
PUBLISHED |= {"jepawm_pusht": JEPA_WM, "vjepa2_ac_droid": VJEPA2_AC}

SIZES = {
    "lit": {"size": "huge", "patch": 14},
    "dinowm_pusht": {"size": "small", "patch": 14},
    "jepawm_pusht": {"size": "small", "patch": 14},
    "vjepa2_ac_droid": {"size": "giant", "patch": 16, "tubelet": 2},
}
RELEASED = {name: {"class_path": "jepa_wm.encoders.vit", "init_args": size} for name, size in SIZES.items()}
"""Encoders of the size of the released ones that recipes load."""


def read(name: str) -> dict[str, Any]:
    recipe: dict[str, Any] = yaml.safe_load((config_root() / "recipes" / f"{name}.yaml").read_text())
    if name in RELEASED:
        recipe["model"]["encoder"] = RELEASED[name]
    if name == "dinov3_gram":  # its encoder is another run's
        recipe["model"]["encoder"] = read("dinov3_vitl16")["model"]["encoder"]
    return recipe


@cache
def built(name: str) -> Training:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Training, "model")
    with torch.device("meta"):
        return parser.instantiate(parser.parse_object({"model": read(name)["model"]})).model


def figures(name: str) -> dict[str, Any]:
    """All that a table above may ask for."""
    recipe, model = read(name), built(name)
    objective: Any = next(iter(model.objectives.values()))
    trainer, data, encoder = recipe["trainer"], recipe["data"], objective.encoder
    found = {
        "batch": trainer["devices"] * trainer.get("num_nodes", 1) * data["batch_size"],
        "steps": trainer["max_steps"],
        "lr": (model.lr(0.0), max(model.lr(step / 10000) for step in range(10001)), model.lr(1.0)),
        "warm-up": getattr(model.lr, "warmup", 0.0) * trainer["max_steps"],
        "weight decay": (model.weight_decay(0.0), model.weight_decay(1.0)),
        "average": (objective.decay(0.0), objective.decay(1.0)) if hasattr(objective, "decay") else None,
        "clip": trainer["gradient_clip_val"],
        "layer decay": model.layer_decay,
        "moments": model.betas,
        "eps": model.eps,
        "encoder": (encoder.dim, encoder.depth, encoder.heads, encoder.patch, encoder.tubelet),
    }
    if hasattr(objective, "masks") and hasattr(objective, "predictor"):
        size = next(iter(recipe["model"]["objectives"].values()))["init_args"]["predictor"]
        crop, *others = transforms(data["transform"])
        ramp, (share, masks, weight) = objective.context, vars(objective.images).values()
        found |= {
            "predictor": (size["width"], size["depth"], size["heads"]),
            "masks": [tuple(vars(mask).values()) for mask in objective.masks],
            "crop": (crop.size[0], tuple(crop.scale), tuple(crop.ratio)),
            "flip": any(isinstance(other, v2.RandomHorizontalFlip) for other in others),
            "frames": (data.get("frames"), data.get("frame_skip")),
            "levels": encoder.levels,
            "images": (share, masks and [tuple(vars(mask).values()) for mask in masks], weight and weight(1.0)),
            "context": ramp and (ramp.start, ramp.end, *(at * found["steps"] for at in (ramp.begin, ramp.until))),
        }
    elif isinstance(objective, Forecasting):
        found |= forecast(objective) | {"frames": (data["frames"], data["frame_skip"])}
        found["latents"] = (transforms(data["transform"])[0].size[0], objective.dynamics.latent_dim)
    elif isinstance(objective, ContrastiveText):
        crop, tower = transforms(data["transform"])[0], objective.text.tower
        found |= {
            "contrast": (objective.loss, objective.lock),
            "sentences": (tower.dim, tower.context_length),
            "head": type(objective.text.head).__name__,
            "text tower": tuple(getattr(tower, part, None) for part in ("width", "layers", "heads")),
            "crop": (crop.size[0], tuple(crop.scale), tuple(crop.ratio)),
        }
    elif objective.transform is not None:
        views = objective.transform
        found["views"] = (views.size, views.local_size, views.local_views, views.scale, views.local_scale, views.flip)
    if isinstance(objective, LeJEPA):
        found["sigreg"] = (objective.weight, objective.projector[-1].out_features, objective.gaussianity.slices)
    if hasattr(objective, "heads"):
        found["temperature"] = tuple(objective.heads.teacher(progress) for progress in (0.0, 0.3, 1.0))
        found |= {"hidden": (objective.masks.share, objective.masks.ratio), "koleo": objective.koleo}
        found["gram"] = objective.gram and (objective.gram.weight(0.5), objective.gram.every)
    return found


def forecast(objective: Forecasting) -> dict[str, Any]:
    """What a table may ask of a world model."""
    own: Any = objective.dynamics
    size, rollout = getattr(own, "trunk", own), objective.rollout
    return {
        "world model": (size.depth, size.heads, size.head_dim, size.hidden, own.window, size.dropout),
        "weights": sum(parameter.numel() for parameter in own.parameters()),
        "rollout": (rollout.seen, rollout.steps, rollout.cut),
        "action": own.actions.width,
        "error": objective.error.__name__,
        "terms": {name: numbers(term) for name, term in objective.terms.items()},
        "errors": (objective.forced, objective.rollout.weight, objective.detach, objective.freeze_encoder),
    }


def numbers(term: Any) -> dict[str, float]:
    """A term's own figures."""
    return {name: value for name, value in vars(term).items() if isinstance(value, int | float) and name != "training"}


def transforms(given: dict[str, Any]) -> list[Any]:
    """A transform, or those that it is made of."""
    kind, arguments = given["class_path"].rpartition(".")[2], given.get("init_args", {})
    if kind == "Compose":
        return [each for inner in arguments["transforms"] for each in transforms(inner)]
    return [getattr(v2, kind)(**arguments)]


@pytest.mark.parametrize("name", ["dinowm_pusht", "jepawm_pusht", "vjepa2_ac_droid"])
def test_a_model_is_shown_pictures_as_it_was_trained_on_them(name: str) -> None:
    recipe = yaml.safe_load((config_root() / "recipes" / f"{name}.yaml").read_text())
    size = transforms(recipe["data"]["transform"])[0].size[0]
    told = recipe["model"]["encoder"]["init_args"]["preprocessing"]["init_args"]
    assert (told["size"], told["crop"], told["interpolation"]) == (size, 1.0, "bilinear")


def flat(value: Any) -> list[Any]:
    value = sorted(value.items()) if isinstance(value, dict) else value
    return [leaf for part in value for leaf in flat(part)] if isinstance(value, tuple | list) else [value]


@pytest.mark.parametrize(("name", "figure"), [(name, figure) for name, rows in PUBLISHED.items() for figure in rows])
def test_a_figure_is_the_published_one(name: str, figure: str) -> None:
    found, published = flat(figures(name)[figure]), flat(PUBLISHED[name][figure])
    for one, other in zip(found, published, strict=True):
        assert one == other if isinstance(other, str | None) else one == pytest.approx(other, rel=3e-4)


def test_the_cooldown_can_begin_with_the_end_of_the_first_phase() -> None:
    """All that --start_from asks of the two: weights of the same names and sizes, the same of which are trained."""
    first, second = (built(name) for name in ("vjepa2_vitg16", "vjepa2_vitg16_cooldown"))
    states, trained = [], []
    for model in (first, second):
        states.append({name: value.shape for name, value in model.state_dict().items()})
        trained.append([name for name, parameter in model.named_parameters() if parameter.requires_grad])
    assert states[0] == states[1] and trained[0] == trained[1]
    assert any("teacher" in name for name in states[0]) and any("predictor" in name for name in trained[0])
