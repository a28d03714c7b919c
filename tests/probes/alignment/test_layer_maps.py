"""Maps of all pairs of layers: what is computed at once is what each pair gives alone."""

import pytest
import torch

from jepa_wm.errors import UserError
from probes.alignment.calibrate import calibrate
from probes.alignment.maps import layer_map, score_map
from probes.alignment.named import metric_named
from probes.alignment.overlap import Overlaps
from probes.alignment.permute import orders
from probes.metrics.mutual_knn import mutual_knn
from probes.neighbours import neighbours

WIDTHS = {"x": (5, 9, 30), "y": (12, 4)}


def layers(n=60, share=0.8, seed=0):
    """Layers of two models of one hidden state, noisier with depth."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 4, generator=generator, dtype=torch.float64)

    def layer(depth, d):
        mixed = hidden @ torch.randn(4, d, generator=generator, dtype=torch.float64)
        return share**depth * mixed + torch.randn(n, d, generator=generator, dtype=torch.float64)

    return [[layer(depth, d) for depth, d in enumerate(widths)] for widths in WIDTHS.values()]


@pytest.mark.parametrize("metric", ["mutual_knn", "cka"])
def test_all_pairs_at_once_are_the_pairs_alone(metric):
    x, y = layers()
    named = metric_named(metric)
    alone = [[named.compare(named.prepare(a), named.prepare(b)) for b in y] for a in x]
    assert torch.allclose(score_map(metric, x, y), torch.tensor(alone, dtype=torch.float64), rtol=0, atol=1e-12)
    # The side with more layers is the other one.
    assert torch.allclose(score_map(metric, y, x).T, torch.tensor(alone, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", ["mutual_knn", "cka"])
@pytest.mark.parametrize("turned", [False, True])
def test_null_is_the_mean_over_rows_in_the_orders_given(metric, turned):
    x, y = layers()[:: -1 if turned else 1]
    found = layer_map(metric, x, y, permutations=7, seed=3)
    draws = torch.stack([score_map(metric, x, [layer[order] for layer in y]) for order in orders(60, 7, seed=3)])
    assert torch.allclose(found.null, draws.mean(dim=0), rtol=0, atol=1e-6)
    assert torch.allclose(found.z, (found.values - draws.mean(dim=0)) / draws.std(dim=0), rtol=1e-4)


def test_overlaps_of_many_rows_need_no_table(monkeypatch):
    x, y = ([neighbours(layer, 7) for layer in side] for side in layers())
    order = orders(60, 1)[0]
    dense = Overlaps(x, y)
    monkeypatch.setattr("probes.alignment.overlap.DENSE", 0)
    sparse = Overlaps(x, y)
    assert dense.table is not None and sparse.table is None
    assert torch.equal(dense(), sparse())
    assert torch.equal(dense(order), sparse(order))


def test_null_of_mutual_knn_is_its_closed_form():
    x, y = layers()
    found = layer_map("mutual_knn", x, y, permutations=400, k=5)
    error = (found.values - found.null) / found.z / 400**0.5
    assert ((found.null - 5 / 59).abs() < 4 * error).all()
    assert torch.allclose(found.effect, (found.values - found.null) / (1 - found.null))


def test_best_pair_and_its_score():
    x, y = layers()
    found = layer_map("mutual_knn", x, y, permutations=99, k=6)
    assert found.best == divmod(int(found.values.argmax()), 2)
    assert found.score.value == pytest.approx(mutual_knn(x[found.best[0]], y[found.best[1]], k=6).value)
    assert found.score.p == 0.01
    assert found.score.interval[0] < found.score.value < found.score.interval[1]
    assert (found.score.n, found.score.searched) == (60, 6)


def test_p_by_hand():
    values = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    draws = torch.tensor([[[1.0, -1.0]], [[-1.0, 1.0]], [[0.0, 0.5]]], dtype=torch.float64)
    null, z, p, effect = calibrate(values, draws)
    assert torch.allclose(null, torch.tensor([[0.0, 0.5 / 3]], dtype=torch.float64))
    assert z[0, 0] == pytest.approx(3)
    assert effect[0, 1] == pytest.approx((0 - 0.5 / 3) / (1 - 0.5 / 3))
    # Nothing reaches the first pair; of the three maxima, those at 1.0, 1.0 and 0.5 of pair 2 are above its 0.
    assert p.tolist() == [[0.25, 1.0]]


def test_p_compares_pairs_by_their_own_spread():
    # By raw values the second pair, whose null is far higher, would hide the first.
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(99, 1, 2, generator=generator, dtype=torch.float64) * 0.01 + torch.tensor([0.0, 0.8])
    p = calibrate(torch.tensor([[0.1, 0.8]], dtype=torch.float64), draws)[2]
    assert p[0, 0] == 0.01
    assert p[0, 1] > 0.3


def test_saturated_pairs_are_refused():
    values, draws = torch.ones(1, 2, dtype=torch.float64), torch.ones(5, 1, 2, dtype=torch.float64)
    draws[:, 0, 0] = torch.arange(5) / 10
    with pytest.raises(UserError, match="x layer 0 and y layer 1 score 1 in every order"):
        calibrate(values, draws)


def test_bad_input_is_refused():
    x, y = layers()
    with pytest.raises(UserError, match=r"metric: got 'knn', expected one of .*mutual_knn"):
        layer_map("knn", x, y)
    with pytest.raises(UserError, match="y layer 1 has 59 rows"):
        layer_map("mutual_knn", x, [y[0], y[1][1:]])
    with pytest.raises(UserError, match="x layer 2 is the same in all 60 rows"):
        layer_map("mutual_knn", [*x[:2], torch.ones(60, 3)], y)
    with pytest.raises(UserError, match="y layer 0: row 4 holds NaN"):
        layer_map("mutual_knn", x, [y[0].index_fill(0, torch.tensor(4), float("nan"))])
    with pytest.raises(UserError, match="permutations: got 1"):
        layer_map("mutual_knn", x, y, permutations=1)
    with pytest.raises(UserError, match="k: got 3 for cka"):
        layer_map("cka", x, y, k=3)
    with pytest.raises(UserError, match="at least one of each"):
        score_map("mutual_knn", [], y)
