import pytest
import torch
from formula import tensor
from torch.nn import functional as F

from probes.heads.lbfgs import minimise
from probes.heads.logistic import GRID, logistic, logistic_probe

# scikit-learn 1.9.1, LogisticRegression(C, tol=1e-12, max_iter=10000) on the numbers of `small`.
SKLEARN = {
    0.01: (
        [0.0801931, -0.03375494, -0.03529379, -0.01088645],
        [-0.05131165, 0.06809344, -0.05083904, -0.02937162],
        [-0.02888145, -0.0343385, 0.08613283, 0.04025806],
        [0.0080167, 0.14748183, -0.15549853],
    ),
    1.0: (
        [1.51183761, -0.55912208, -0.70059866, -0.09419003],
        [-0.65971184, 1.11475103, -0.73916304, -0.26622364],
        [-0.85212576, -0.55562895, 1.4397617, 0.36041367],
        [-0.04475147, 0.22977442, -0.18502295],
    ),
    100.0: (
        [2.66404884, -0.84099938, -1.31355148, -0.07749751],
        [-0.88961296, 1.65141334, -1.09251216, -0.35315995],
        [-1.77443588, -0.81041396, 2.40606365, 0.43065746],
        [-0.19970656, 0.39712028, -0.19741373],
    ),
}


def small():
    x = tensor("features", (60, 4))
    x = x - x.mean(dim=0)
    return x, (x[:, :3] + 0.7 * tensor("noise", (60, 3))).argmax(dim=1)


def objective(x, y, c, weights, bias):
    return c * F.cross_entropy(x @ weights + bias, y, reduction="sum") + weights.square().sum() / 2


def test_weights_are_scikit_learns():
    found = logistic(*small(), tuple(SKLEARN))
    for weights, bias, (*rows, intercept) in zip(found.weights, found.bias, SKLEARN.values(), strict=True):
        torch.testing.assert_close(weights.T, torch.tensor(rows, dtype=torch.float64), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(bias, torch.tensor(intercept, dtype=torch.float64), atol=1e-6, rtol=1e-6)


# Also with fewer rows than features, where the classes are separable.
@pytest.mark.parametrize(("n", "d"), [(120, 8), (30, 50)])
def test_gradients_vanish_and_no_other_solver_does_better(n, d):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64) * torch.logspace(0, -2, d, dtype=torch.float64)
    x = x - x.mean(dim=0)
    y = (x[:, :3] + 0.5 * torch.randn(n, 3, generator=generator, dtype=torch.float64)).argmax(dim=1)
    found = logistic(x, y)
    assert found.gradient.max() <= 1e-8
    for i in range(0, 45, 11):
        point = [part[i].clone().requires_grad_() for part in (found.weights, found.bias)]
        value = objective(x, y, GRID[i], *point)
        slopes = torch.autograd.grad(value, point)
        assert max(slope.abs().max() for slope in slopes) < 1e-7 * max(1.0, GRID[i] * n)
        other = [torch.zeros_like(part, requires_grad=True) for part in point]
        tight = {"tolerance_grad": 1e-10, "tolerance_change": 0}
        solver = torch.optim.LBFGS(other, max_iter=500, line_search_fn="strong_wolfe", **tight)

        def again(other=other, solver=solver, c=GRID[i]):
            solver.zero_grad()
            loss = objective(x, y, c, *other)
            loss.backward()
            return loss

        solver.step(again)
        best = objective(x, y, GRID[i], *other)
        assert value.item() <= best.item() * (1 + 1e-6)
        if GRID[i] <= 1:
            torch.testing.assert_close(point[0], other[0], atol=1e-5, rtol=1e-4)


def test_each_of_many_problems_is_minimised_alone():
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(6, 20, 20, generator=generator, dtype=torch.float64)
    hessian = root @ root.mT
    hessian = hessian / torch.linalg.matrix_norm(hessian, 2)[:, None, None] + 1e-4 * torch.eye(20)
    hessian = hessian / 1.001
    target = torch.randn(6, 20, generator=generator, dtype=torch.float64)

    def quadratic(x, which):
        slope = (hessian[which] @ (x - target[which])[:, :, None])[:, :, 0]
        return 0.5 * ((x - target[which]) * slope).sum(dim=1), slope

    x, gradient = minimise(quadratic, torch.zeros(6, 20, dtype=torch.float64), 1e-10)
    assert gradient.max() <= 1e-10
    torch.testing.assert_close(x, target, atol=1e-5, rtol=0)
    # One that starts where it is solved stays there, and the others are not the worse for it.
    begun = torch.zeros(6, 20, dtype=torch.float64)
    begun[2] = target[2]
    again = minimise(quadratic, begun, 1e-10)[0]
    assert again[2].equal(target[2])
    torch.testing.assert_close(again, x, atol=1e-5, rtol=0)


def test_planted_classes_are_read_and_noise_is_not(blobs, ignorant):
    for refit in (False, True):
        found = logistic_probe(*blobs[0], blobs[1], GRID[::6], refit)
        assert found.score.value > 0.99 and found.score.null == 0.25
    blind = logistic_probe(*ignorant[0], ignorant[1], GRID[::6]).score
    assert blind.value <= blind.null + 4 * (0.25 * 0.75 / 200) ** 0.5


def test_refitting_is_on_train_and_val(blobs):
    (train, val, test), groups = blobs
    few = (train[0][::15], train[1][::15])
    groups = torch.cat([groups[:300:15], groups[300:]])
    alone, both = (logistic_probe(few, val, test, groups, (1.0,), refit).score.value for refit in (False, True))
    assert len(few[0]) == 20 and both >= alone


def test_no_straight_line_solves_an_exclusive_or(xor):
    assert logistic_probe(*xor, c=GRID[::6]).score.value < 0.65
