"""Exact numbers from names, the same on every platform: weights, inputs and pixels of the golden tests.

Each number comes from integers below 2**63 by operations that float64 does exactly, so a test needs no stored
tensors: it fills its own model from the reference's parameter names and compares the results with golden/*.json.
"""

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tensor(name: str, shape: Iterable[int]) -> Tensor:
    """Plain hashed numbers in [-1, 1), float64: the inputs."""
    shape = tuple(shape)
    h = torch.arange(math.prod(shape), dtype=torch.int64) * 2654435761 + zlib.crc32(name.encode()) * 40503
    h = h % 2**32
    h = h ^ (h >> 16)
    h = (h * 0x45D9F3B) % 2**32
    h = h ^ (h >> 16)
    return (h.double() / 2**32 * 2 - 1).reshape(shape)


def pixels(name: str, shape: Iterable[int]) -> Tensor:
    """Hashed pixels, uint8."""
    return ((tensor(name, shape) + 1) * 128).floor().to(torch.uint8)


def formula(name: str, shape: Iterable[int]) -> Tensor:
    """A parameter's values, float64: spread 1 / sqrt(fan in); norms near 1, biases near 0."""
    u = tensor(name, shape)
    if u.ndim >= 2:
        fan_in = u.numel() // u.shape[0]
        return u * math.sqrt(3 / fan_in)
    if name.endswith((".weight", "gamma")):
        return 1 + 0.1 * u
    return 0.1 * u


def fill(shapes: Mapping[str, Iterable[int]], prefix: str = "") -> dict[str, Tensor]:
    """A state dict from names and shapes; the prefix (``encoder.``) counts as part of each name."""
    return {name: formula(prefix + name, shape) for name, shape in shapes.items()}


def permutations(name: str, rows: int, length: int) -> Tensor:
    """One permutation of ``range(length)`` per row: where masks are drawn from."""
    return tensor(name, (rows, length)).argsort(dim=1)


def normalised(images: Tensor) -> Tensor:
    """uint8 pixels with channels at dimension 1 as the models read them: ImageNet's mean and deviation, float64."""
    shape = (3,) + (1,) * (images.ndim - 2)
    mean, std = (torch.tensor(x, dtype=torch.float64).reshape(shape) for x in (MEAN, STD))
    return (images.double() / 255 - mean) / std


def checks(name: str, x: Tensor) -> dict[str, Any]:
    """What is stored of a tensor: shape, sum, sum of squares, and its product with ``tensor("probe." + name)``.

    The last one changes with the order of the elements, which the two others do not.
    """
    x = x.detach().double()
    squares = float(x.square().sum())
    zero = 1e-12 * math.sqrt(squares * x.numel())  # a smaller sum is rounding error
    sums = {"sum": float(x.sum()), "probe": float((x * tensor("probe." + name, x.shape)).sum())}
    sums = {key: rounded(value) if abs(value) > zero else 0.0 for key, value in sums.items()}
    return {"name": name, "shape": list(x.shape), "sum_of_squares": rounded(squares), **sums}


def matches(stored: Mapping[str, Any], x: Tensor, tolerance: float = 1e-9) -> bool:
    """Whether a tensor has the stored checks, up to errors of this size relative to its norm."""
    found = checks(stored["name"], x)
    if found["shape"] != stored["shape"]:
        return False
    error = tolerance * math.sqrt(max(stored["sum_of_squares"], 1e-30))
    return (
        abs(found["sum_of_squares"] - stored["sum_of_squares"]) <= 2 * tolerance * stored["sum_of_squares"] + 1e-30
        and abs(found["sum"] - stored["sum"]) <= error * math.sqrt(x.numel())
        and abs(found["probe"] - stored["probe"]) <= error * math.sqrt(x.numel())
    )


def step_matches(
    golden: Mapping[str, Any], loss: Tensor, model: nn.Module, names: Mapping[str, str], tolerance: float = 1e-9
) -> bool:
    """Whether a loss and its gradients are the stored ones; `names` leads from the published parameters to ours."""
    loss.backward()
    if abs(loss.item() - golden["loss"]) > tolerance * abs(golden["loss"]):
        return False
    found = {theirs: model.get_parameter(ours).grad for theirs, ours in names.items()}
    return all(x is not None and matches(golden["gradients"][name], x, tolerance) for name, x in found.items())


def rounded(x: Tensor | float) -> float:
    """Twelve significant digits: what summation order leaves alone."""
    return float(f"{float(x):.12g}")
