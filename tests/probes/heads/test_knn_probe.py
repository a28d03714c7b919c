import pytest
import torch

from jepa_wm.errors import UserError
from probes.knn import knn_classify, knn_probe


def test_every_k_is_the_classifier_with_that_k(ignorant):
    (train, val, test), groups = ignorant
    # A little structure, so that numbers of voters differ.
    (train, val, test) = ((x + 0.7 * torch.nn.functional.one_hot(y, 6), y) for x, y in (train, val, test))
    ks = (1, 5, 60, 299)
    by_val = [knn_classify(*train, *val, k, 1.0).value for k in ks]
    by_test = [knn_classify(*train, *test, k, 1.0).value for k in ks]
    assert len(set(by_test)) >= 3 and len(set(by_val)) == 4
    found = knn_probe(train, val, test, groups, (*ks, 10_000), 1.0)
    best = by_val.index(max(by_val))
    assert found.score.value == by_test[best] and found.chosen == ({"k": float(ks[best])},)
    assert found.median == by_test[by_val.index(sorted(by_val)[1])]
    assert found.score.interval[0] < found.score.value < found.score.interval[1]


def test_some_k_must_fit(blobs):
    with pytest.raises(UserError, match="expected one from 1 to the 300 training rows"):
        knn_probe(*blobs[0], blobs[1], (400,))
