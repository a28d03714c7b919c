"""Values of platonic-rep itself, run in float64 at dcd76ba on the features that `features` makes."""

import pytest
import torch
from torch.nn import functional as F

from jepa_wm.errors import UserError
from probes.alignment import reference
from probes.alignment.maps import score_map


def features(seed, copies=8, n=48):
    """Two models of 2 and 3 layers, (n, layers, width), with an outlier dimension and rows that are copies."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    sides = []
    for layers, width in ((2, 10), (3, 14)):
        noise = torch.randn(n, layers, width, generator=generator, dtype=torch.float64)
        weight = torch.randn(layers, 5, width, generator=generator, dtype=torch.float64)
        side = torch.einsum("nh,lhd->nld", hidden, weight) + torch.arange(1, layers + 1)[:, None] * 0.5 * noise
        side[:, :, 3] *= 6
        side[n - copies :] = side[:copies]
        sides.append(side)
    return [list(side.unbind(dim=1)) for side in sides]


# (seed, copies, exact clip, metric): its score and the layers that it names, k = 5. Its cycles and LCS are float32.
# Its order of tied neighbours is whatever an unstable sort makes of rounding errors; for the runs with copies its
# cosines were rounded to 12 digits and its sort made stable.
GOLDEN = {
    (0, 0, True, "cycle_knn"): (0.875000000, (0, 1)),
    (0, 0, True, "mutual_knn"): (0.425000000, (0, 0)),
    (0, 0, True, "lcs_knn"): (1.541666627, (0, 1)),
    (0, 0, True, "cka"): (0.537403566, (0, 1)),
    (0, 0, True, "unbiased_cka"): (0.505546535, (0, 0)),
    (0, 0, True, "cknna"): (0.421633513, (0, 2)),
    (0, 0, True, "edit_distance_knn"): (0.133333333, (1, 1)),
    (1, 0, True, "cycle_knn"): (0.958333313, (0, 0)),
    (1, 0, True, "mutual_knn"): (0.454166667, (1, 0)),
    (1, 0, True, "lcs_knn"): (1.687500000, (1, 0)),
    (1, 0, True, "cka"): (0.536245207, (0, 2)),
    (1, 0, True, "unbiased_cka"): (0.492526883, (0, 2)),
    (1, 0, True, "cknna"): (0.489768076, (1, 0)),
    (1, 0, True, "edit_distance_knn"): (0.145833333, (1, 0)),
    (2, 0, True, "cycle_knn"): (0.916666687, (0, 0)),
    (2, 0, True, "mutual_knn"): (0.412500000, (0, 0)),
    (2, 0, True, "lcs_knn"): (1.541666627, (0, 0)),
    (2, 0, True, "cka"): (0.535537785, (1, 0)),
    (2, 0, True, "unbiased_cka"): (0.498559029, (1, 0)),
    (2, 0, True, "cknna"): (0.393797707, (1, 1)),
    (2, 0, True, "edit_distance_knn"): (0.162500000, (0, 1)),
    (0, 8, True, "cycle_knn"): (0.895833313, (0, 1)),
    (0, 8, True, "mutual_knn"): (0.433333333, (1, 0)),
    (0, 8, True, "lcs_knn"): (1.854166627, (1, 0)),
    (0, 8, True, "cka"): (0.487198059, (0, 0)),
    (0, 8, True, "unbiased_cka"): (0.448462446, (0, 0)),
    (0, 8, True, "cknna"): (0.560076536, (1, 0)),
    (0, 8, True, "edit_distance_knn"): (0.237500000, (1, 0)),
    (1, 8, True, "cycle_knn"): (0.937500000, (1, 0)),
    (1, 8, True, "mutual_knn"): (0.462500000, (1, 0)),
    (1, 8, True, "lcs_knn"): (2.020833254, (1, 0)),
    (1, 8, True, "cka"): (0.542523308, (1, 0)),
    (1, 8, True, "unbiased_cka"): (0.509620084, (1, 0)),
    (1, 8, True, "cknna"): (0.547637921, (1, 0)),
    (1, 8, True, "edit_distance_knn"): (0.229166667, (1, 0)),
    (2, 8, True, "cycle_knn"): (0.895833313, (0, 1)),
    (2, 8, True, "mutual_knn"): (0.466666667, (1, 1)),
    (2, 8, True, "lcs_knn"): (2.062500000, (1, 1)),
    (2, 8, True, "cka"): (0.596911703, (0, 0)),
    (2, 8, True, "unbiased_cka"): (0.562758185, (0, 0)),
    (2, 8, True, "cknna"): (0.519584646, (1, 1)),
    (2, 8, True, "edit_distance_knn"): (0.237500000, (1, 1)),
    (0, 8, False, "cycle_knn"): (0.895833313, (0, 1)),
    (0, 8, False, "mutual_knn"): (0.458333333, (1, 0)),
    (0, 8, False, "lcs_knn"): (1.916666627, (1, 0)),
    (0, 8, False, "cka"): (0.506343567, (0, 1)),
    (0, 8, False, "unbiased_cka"): (0.463822934, (0, 1)),
    (0, 8, False, "cknna"): (0.605804954, (1, 0)),
    (0, 8, False, "edit_distance_knn"): (0.237500000, (1, 0)),
    (1, 8, False, "cycle_knn"): (0.958333313, (0, 1)),
    (1, 8, False, "mutual_knn"): (0.475000000, (1, 0)),
    (1, 8, False, "lcs_knn"): (2.000000000, (1, 0)),
    (1, 8, False, "cka"): (0.584804283, (1, 0)),
    (1, 8, False, "unbiased_cka"): (0.552748764, (1, 0)),
    (1, 8, False, "cknna"): (0.573610433, (1, 0)),
    (1, 8, False, "edit_distance_knn"): (0.233333333, (1, 0)),
    (2, 8, False, "cycle_knn"): (0.875000000, (0, 0)),
    (2, 8, False, "mutual_knn"): (0.495833333, (0, 0)),
    (2, 8, False, "lcs_knn"): (2.062500000, (0, 1)),
    (2, 8, False, "cka"): (0.623945107, (0, 0)),
    (2, 8, False, "unbiased_cka"): (0.591151016, (0, 0)),
    (2, 8, False, "cknna"): (0.526623410, (1, 1)),
    (2, 8, False, "edit_distance_knn"): (0.266666667, (0, 1)),
}


@pytest.mark.parametrize(("seed", "copies", "exact", "metric"), GOLDEN)
def test_values_are_those_of_platonic_rep(seed, copies, exact, metric):
    found = reference.alignment(metric, *features(seed, copies), k=5, exact=exact)
    score, best = GOLDEN[seed, copies, exact, metric]
    assert found.score == pytest.approx(score, abs=1e-6)
    assert found.best == best
    assert found.values[best] == found.score


def test_clip_is_over_all_layers_together_and_of_each_where_widths_differ():
    x = [torch.arange(1.0, 41).view(8, 5), torch.arange(41.0, 81).view(8, 5).neg()]
    # Of 80 values in order, the one at place 76 counted from 0 is 77.
    whole = [F.normalize(layer.clamp(-77, 77), dim=1) for layer in x]
    assert all(torch.equal(a, b) for a, b in zip(reference.prepared(x), whole, strict=True))
    apart = reference.prepared([x[0], x[1][:, :4]])
    assert torch.equal(apart[0], F.normalize(x[0].clamp(-39, 39), dim=1))


def test_nothing_above_zero_is_no_pair():
    # Two rows of each kind, paired crosswise: the unbiased CKA is negative.
    x = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]).repeat(2, 1)
    y = torch.tensor([[0.1, 1.0], [-0.1, -1.0], [0.1, 1.0], [-0.1, -1.0]]).repeat(2, 1)
    found = reference.alignment("unbiased_cka", [x.double()], [y.double()])
    assert found.values.item() < 0
    assert (found.score, found.best) == (0.0, None)


def test_differences_are_shown_beside_each_other():
    x, y = features(0)
    rows = {row["metric"]: row for row in reference.differences(x, y, k=5)}
    assert set(rows) == set(reference.METRICS)
    assert rows["lcs_knn"]["reference"] == pytest.approx(GOLDEN[0, 8, True, "lcs_knn"][0], abs=1e-6)
    assert rows["lcs_knn"]["ours"] == score_map("lcs_knn", x, y, k=5).max()
    assert rows["unbiased_cka"]["ours"] == score_map("cka", x, y).max()
    # One dimension of six times the spread is most of what is seen without the clip.
    assert rows["mutual_knn"]["ours"] < rows["mutual_knn"]["reference"] - 0.02
    assert "clips" in rows["mutual_knn"]["why"] and "1e-6" in rows["cknna"]["why"]


def test_unknown_references_and_metrics_are_refused():
    x, y = features(0)
    with pytest.raises(UserError, match="got 'resi', expected platonic-rep"):
        reference.alignment("cka", x, y, reference="resi")
    with pytest.raises(UserError, match="got 'svcca', expected one of mutual_knn"):
        reference.alignment("svcca", x, y)
