"""How many parameters the published encoders have, from the reference's own models without memory (meta device).

--source is the folder that holds the work trees ijepa, vjepa2, dinov2 and dinov3.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import torch
from reference import how, source, stub, write
from torch import nn

LINSPACE = torch.linspace


def counts(build: Callable[..., nn.Module], **options: object) -> dict[str, int]:
    with torch.device("meta"):
        torch.linspace = lambda *args, **kwargs: LINSPACE(*args, **{**kwargs, "device": "cpu"})  # read as numbers
        model = build(**options)
        torch.linspace = LINSPACE
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    training_only = {name: sizes.pop(name) for name in list(sizes) if name.startswith(("mask_token", "local_cls_norm"))}
    masked = sum(b.numel() // 3 for name, b in model.named_buffers() if name.endswith("bias_mask"))
    return {
        "learned": sum(sizes.values()),
        "learned_without_key_biases": sum(sizes.values()) - masked,
        "mask_token": training_only.pop("mask_token", 0),
        "local_cls_norm": sum(training_only.values()),
        "fixed_tables": sum(p.numel() for p in model.parameters() if not p.requires_grad),
    }


def enter(folder: Path) -> None:
    """Makes this work tree the one that is imported; two of them call their package src."""
    sys.path[0] = str(folder)
    for name in [name for name in sys.modules if name.split(".")[0] in ("src", "dinov2", "dinov3")]:
        del sys.modules[name]


def main() -> None:
    folder = source(__doc__)
    sys.path.insert(0, "")
    for name in ("termcolor", "einops", "fvcore", "iopath"):
        stub(name, __getattr__=MagicMock())
    stub("timm.models.layers", drop_path=None)
    models = {}

    enter(folder / "ijepa")
    from src.models import vision_transformer as ijepa

    models["ijepa_vith14_224"] = counts(ijepa.vit_huge, img_size=[224], patch_size=14)
    models["ijepa_vith16_448"] = counts(ijepa.vit_huge, img_size=[448], patch_size=16)
    models["ijepa_vitg16_224"] = counts(ijepa.vit_giant, img_size=[224], patch_size=16)

    enter(folder / "vjepa2")
    from src.models import vision_transformer as vjepa2

    clip = {"img_size": (256, 256), "patch_size": 16, "num_frames": 64, "tubelet_size": 2, "use_rope": True}
    for name, build in {"l": vjepa2.vit_large, "h": vjepa2.vit_huge, "g": vjepa2.vit_giant_xformers}.items():
        models[f"vjepa2_vit{name}16_256_64frames"] = counts(build, **clip)

    enter(folder / "dinov2")
    from dinov2.hub import backbones as dinov2

    for name in ("s", "b", "l", "g"):
        for registers in ("", "_reg"):
            build = getattr(dinov2, f"dinov2_vit{name}14{registers}")
            models[f"dinov2_vit{name}14{registers}_518"] = counts(build, pretrained=False)

    enter(folder / "dinov3")
    from dinov3.hub import backbones as dinov3

    for name in ("s16", "s16plus", "b16", "l16", "h16plus", "7b16"):
        models[f"dinov3_vit{name}"] = counts(getattr(dinov3, f"dinov3_vit{name}"), pretrained=False)

    record = how(
        folder / "ijepa",
        "facebookresearch/{ijepa,vjepa2,dinov2,dinov3}",
        """learned: parameters that take gradients, without those that only pretraining uses: mask_token, and
        local_cls_norm (a second norm for local crops, in DINOv3's 7B model); those are counted apart. fixed_tables:
        sin-cos positions, which are parameters without gradients; buffers are not counted. DINOv2's learned position
        table (37 x 37 + 1) counts as learned. DINOv3's qkv biases have a third for the keys that a buffer masks to
        zero: learned contains them, learned_without_key_biases does not.""",
    )
    trees = ("ijepa", "vjepa2", "dinov2", "dinov3")
    record["commit"] = ", ".join(f"{x} {how(folder / x, '', '')['commit']}" for x in trees)
    record["dtype"] = "none: meta device"
    write("parameters", {"how": record, "numbers": models})


if __name__ == "__main__":
    main()
