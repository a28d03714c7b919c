import pytest
import torch

from jepa_wm.errors import UserError
from probes.heads.mlp import Mlp, fit, forward, mlp_classifier, mlp_regression
from probes.linear import ridge_probe

SHORT = Mlp(hidden=32, rate=1e-2, epochs=30, patience=5, batch=64)


def squares(predicted, y):
    return (predicted - y).square().mean(dim=(1, 2))


def test_perceptrons_side_by_side_are_each_as_if_alone():
    generator = torch.Generator().manual_seed(0)
    x, val_x = (torch.randn(n, 4, generator=generator) for n in (70, 40))
    y, val_y = (torch.randn(3, n, 2, generator=generator) for n in (70, 40))
    recipe = Mlp(hidden=8, rate=3e-2, batch=16, epochs=40, patience=3, seeds=(5, 6, 5))
    together, best = fit(x, y, val_x, val_y, 2, squares, recipe)
    assert len(set(best.tolist())) > 1
    for i, seed in enumerate(recipe.seeds):
        own = fit(x, y[i : i + 1], val_x, val_y[i : i + 1], 2, squares, recipe._replace(seeds=(seed,)))
        assert own[1].item() == best[i]
        for part, alone in zip(together, own[0], strict=True):
            torch.testing.assert_close(part[i], alone[0], atol=1e-5, rtol=1e-4)


def test_the_weights_kept_are_those_of_the_best_epoch():
    generator = torch.Generator().manual_seed(0)
    x, val_x = (torch.randn(n, 4, generator=generator) for n in (64, 40))
    y, val_y = (part[None, :, :1].abs() + torch.randn(1, len(part), 1, generator=generator) for part in (x, val_x))
    recipe = Mlp(hidden=32, rate=3e-2, batch=16, epochs=25, patience=100, seeds=(0,))
    kept, best = fit(x, y, val_x, val_y, 1, squares, recipe)
    lasting = [fit(x, y, val_x, val_y, 1, squares, recipe._replace(epochs=n + 1)) for n in range(best + 1)]
    losses = [squares(forward(weights, val_x[None]), val_y).item() for weights, _ in lasting]
    assert 0 < best < 24 and losses[-1] == min(losses) == squares(forward(kept, val_x[None]), val_y).item()


def test_a_perceptron_solves_an_exclusive_or(xor):
    found = mlp_classifier(*xor, recipe=SHORT)
    assert found.score.value > 0.93 and len(set(found.seeds)) > 1
    assert found.score.null == pytest.approx(0.5, abs=0.08)


def test_planted_targets_are_read_and_noise_is_not(blobs, ignorant):
    def bent(parts):
        """Targets that a matrix does not read."""
        return [(x[:, 4:], torch.stack([x[:, 4], (x[:, 5] - 3).square()], dim=1)) for x, _ in parts]

    groups = blobs[1]
    found = mlp_regression(*bent(blobs[0]), groups, SHORT._replace(epochs=60))
    assert found.score.value > 0.95 and found.score.null < 0.05
    assert found.score.interval[0] < found.score.value < found.score.interval[1]
    assert found.score.value == pytest.approx(sum(found.seeds) / 3) and len(set(found.seeds)) == 3
    assert ridge_probe(*bent(blobs[0]), groups).r2.value < 0.6
    blind = [(x, y[1]) for (x, _), y in zip(ignorant[0], bent(blobs[0]), strict=True)]
    assert mlp_regression(*blind, groups, SHORT).score.value < 0.1


def test_a_constant_target_is_refused(blobs):
    parts = [(x, torch.ones(len(x), 1)) for x, _ in blobs[0]]
    with pytest.raises(UserError, match="column 0 is constant"):
        mlp_regression(*parts)
