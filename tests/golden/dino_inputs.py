"""What both make_dinov*.py feed: 2 global and 4 local crops of 4 images, 9 patches, 32 prototypes."""

import torch
from formula import formula, tensor
from torch import Tensor

GLOBALS, LOCALS, BATCH, PATCHES, WIDTH, PROTOTYPES = 2, 4, 4, 9, 16, 32
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.07
WEIGHTS = {"dino": 1.0, "ibot": 1.0, "koleo": 0.1, "gram": 1.0}
HEAD = {"in_dim": WIDTH, "out_dim": PROTOTYPES, "nlayers": 3, "hidden_dim": 24, "bottleneck_dim": 12}
MASKED = [[0, 4, 8], [], [1, 2, 3, 5, 7], [6], [], [0, 1, 4], [2, 8], [3, 4, 5, 6]]  # per global crop, crop-major
SHAPES = {
    "student_global": (GLOBALS, BATCH, PROTOTYPES),
    "student_local": (LOCALS, BATCH, PROTOTYPES),
    "teacher_global": (GLOBALS, BATCH, PROTOTYPES),
    "center": (1, PROTOTYPES),
    "student_masked": (sum(map(len, MASKED)), PROTOTYPES),
    "teacher_masked": (sum(map(len, MASKED)), PROTOTYPES),
    "koleo": (12, WIDTH),
    "head": (10, WIDTH),
    "student_patches": (GLOBALS * BATCH, PATCHES, WIDTH),
    "teacher_patches": (GLOBALS * BATCH, PATCHES, WIDTH),
}
TOKENS = {
    "student_cls": (GLOBALS, BATCH, WIDTH),
    "student_local_cls": (LOCALS, BATCH, WIDTH),
    "student_patches": (GLOBALS * BATCH, PATCHES, WIDTH),
    "teacher_cls": (GLOBALS, BATCH, WIDTH),
    "teacher_patches": (GLOBALS * BATCH, PATCHES, WIDTH),
}
INPUTS = {
    "tensors": {f"dino.{name}": shape for name, shape in SHAPES.items()},
    "whole": {f"whole.{name}": shape for name, shape in TOKENS.items()},
    "whole_heads": {f"whole.{part}_head": (PROTOTYPES, WIDTH) for part in ("dino", "ibot")},
    "masked": MASKED,
}
CONFIG = {
    "global_crops": GLOBALS,
    "local_crops": LOCALS,
    "batch": BATCH,
    "student_temperature": STUDENT_TEMPERATURE,
    "teacher_temperature": TEACHER_TEMPERATURE,
    "sinkhorn_iterations": 3,
    "center_momentum": 0.9,
    "head": HEAD,
    "weights": WEIGHTS,
}
NOTE = """Losses' inputs: tensor(name, shape) of "tensors"; gradients are with respect to those named. masked: per
global crop (crop-major: all images' first crops come first) the masked patches; rows of student_masked and
teacher_masked are in that order, and each weighs 1 / (number masked in its crop), in float64. Teacher probabilities
come from teacher inputs at the teacher temperature, by Sinkhorn-Knopp. whole: the sum of all terms, weighted, from
tokens of "whole" through heads tokens @ formula("whole.dino_head", [32, 16]).T and the same for "whole.ibot_head";
the iBOT term reads the patches at masked, KoLeo the student's global class tokens, one crop at a time.
"""


def given(*names: str, whole: bool = False) -> list[Tensor]:
    """Inputs by name; the student's, and KoLeo's and the head's, take gradients."""
    kind, shapes = ("whole", TOKENS) if whole else ("dino", SHAPES)
    found = [tensor(f"{kind}.{name}", shapes[name]) for name in names]
    return [x if n.startswith(("teacher", "center")) else x.requires_grad_() for n, x in zip(names, found, strict=True)]


def heads() -> tuple[Tensor, Tensor]:
    return formula("whole.dino_head", (PROTOTYPES, WIDTH)), formula("whole.ibot_head", (PROTOTYPES, WIDTH))


def masks() -> tuple[Tensor, Tensor, Tensor]:
    """As collate_data_and_cast() gives them: masks, the indices into all patches, each one's weight."""
    mask = torch.zeros(GLOBALS * BATCH, PATCHES, dtype=torch.bool)
    for row, patches in enumerate(MASKED):
        mask[row, patches] = True
    weight = 1 / mask.sum(-1).double().clamp(min=1)
    return mask, mask.flatten().nonzero().flatten(), weight.unsqueeze(-1).expand_as(mask)[mask]


def count(indices: Tensor) -> Tensor:
    return torch.full((1,), len(indices), dtype=torch.long)
