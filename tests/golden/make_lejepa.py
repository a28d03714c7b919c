"""Golden numbers of LeJEPA: its SIGReg statistic and its loss, from rbalestr-lab/lejepa, in float64.

It runs lejepa/univariate/epps_pulley.py on samples and on their projections, and the three lines of MINIMAL.md that
combine the loss, with the class SIGReg that stands in MINIMAL.md. The random directions are replaced by given ones.
"""

import re

import torch
from formula import checks, rounded, tensor
from reference import gradients, how, package, source, write

KNOTS, T_MAX, LAMBDA = 17, 3, 0.02
SAMPLES, WIDTH, DIRECTIONS, VIEWS = 64, 16, 32, 4


def directions() -> torch.Tensor:
    """By formula, with columns of length 1."""
    a = tensor("lejepa.directions", (WIDTH, DIRECTIONS))
    return a / a.norm(dim=0)


def statistics(test: torch.nn.Module, x: torch.Tensor, a: torch.Tensor) -> dict[str, object]:
    each = test(x @ a)
    return {
        "each": checks("lejepa.each", each),
        "first": [rounded(value) for value in each.flatten()[:4]],
        "mean": rounded(each.mean()),
        "gradients_of_mean": gradients(each.mean(), {"x": x}),
    }


def main() -> None:
    folder = source(__doc__)
    torch.set_default_dtype(torch.float64)
    package("lejepa", folder / "lejepa")
    for name in ("univariate", "multivariate"):  # not the tests that need SciPy
        package(f"lejepa.{name}", folder / "lejepa" / name)
    from lejepa.multivariate.slicing import SlicingUnivariateTest
    from lejepa.univariate.epps_pulley import EppsPulley

    test = EppsPulley(t_max=T_MAX, n_points=KNOTS)
    numbers = {"buffers_float32": {name: checks(f"lejepa.{name}", b) for name, b in test.named_buffers()}}

    # The buffers in float64, from the same expressions
    knots = torch.linspace(0, T_MAX, KNOTS, dtype=torch.float64)
    weights = torch.full((KNOTS,), 2 * T_MAX / (KNOTS - 1), dtype=torch.float64)
    weights[[0, -1]] = T_MAX / (KNOTS - 1)
    phi = (-knots.square() / 2).exp()
    exact = {"t": knots, "phi": phi, "weights": weights * phi}
    assert all(torch.allclose(getattr(test, name).double(), b, rtol=0, atol=1e-6) for name, b in exact.items())
    for name, b in exact.items():
        setattr(test, name, b)
    numbers["buffers"] = {name: checks(f"lejepa.{name}", b) for name, b in exact.items()}

    a = directions()
    x = tensor("lejepa.x", (SAMPLES, WIDTH)).requires_grad_()
    shifted = (3 * tensor("lejepa.x", (SAMPLES, WIDTH)) + 0.5).requires_grad_()
    numbers["univariate"] = statistics(test, x, torch.eye(WIDTH))
    numbers["sliced"] = statistics(test, x, a)
    numbers["sliced.shifted"] = statistics(test, shifted, a)
    torch.randn = lambda *_, **__: directions()
    sliced = SlicingUnivariateTest(test, num_slices=DIRECTIONS)
    assert abs(float(sliced(x)) - numbers["sliced"]["mean"]) < 1e-9

    # MINIMAL.md: class SIGReg with the same buffers and directions, and the loss
    page = (folder / "MINIMAL.md").read_text()
    block = re.search(r"```python\n(class SIGReg.*?)\n\nclass ViTEncoder", page, re.DOTALL)
    draw = 'torch.randn(proj.size(-1), 256, device="cuda")'
    assert draw in block[1]
    scope = {"torch": torch, "directions": directions}
    exec(block[1].replace(draw, "directions()"), scope)
    sigreg = scope["SIGReg"](KNOTS)
    for name, b in exact.items():
        setattr(sigreg, name, b)
    proj = tensor("lejepa.proj", (VIEWS, SAMPLES, WIDTH)).requires_grad_()
    sim = (proj.mean(0) - proj).square().mean()
    reg = sigreg(proj)
    total = reg * LAMBDA + sim * (1 - LAMBDA)
    numbers["loss"] = {
        "total": rounded(total),
        "sim": rounded(sim),
        "sigreg": rounded(reg),
        "gradients": gradients(total, {"proj": proj}),
    }

    record = how(
        folder,
        "rbalestr-lab/lejepa",
        """x: tensor("lejepa.x", [64, 16]); shifted: 3 * x + 0.5, its gradient is with respect to shifted; proj:
        tensor("lejepa.proj", [4, 64, 16]), views first. directions: tensor("lejepa.directions", [16, 32]) with columns
        of length 1. univariate: one statistic per column of x; sliced: one per direction; sigreg in loss: the mean
        over views and directions of statistics over the 64 samples of a view (the factor N is 64). Knots, phi and
        weights are computed in float64; the reference's float32 ones are in buffers_float32.""",
    )
    config = {"knots": KNOTS, "t_max": T_MAX, "lambda": LAMBDA, "views": VIEWS}
    inputs = {
        "lejepa.x": [SAMPLES, WIDTH],
        "lejepa.directions": [WIDTH, DIRECTIONS],
        "lejepa.proj": [VIEWS, SAMPLES, WIDTH],
    }
    write("lejepa", {"how": record, "config": config, "parameters": {}, "inputs": inputs, "numbers": numbers})


if __name__ == "__main__":
    main()
