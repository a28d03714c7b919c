import pytest
import torch

from jepa_wm.errors import UserError
from probes.heads.attentive import Attentive, attentive_probe
from probes.heads.linear_sgd import sgd_probe
from probes.heads.logistic import logistic_probe
from probes.heads.mlp import mlp_classifier
from probes.heads.outcome import check_labels, choose
from probes.knn import knn_probe


def small_attentive(train, val, test, groups=None):
    parts = [(x.reshape(len(x), 2, 3), y) for x, y in (train, val, test)]
    return attentive_probe(*parts, groups, Attentive(depth=1, heads=1, rates=(1e-3,), decays=(0.1,), epochs=1))


PROBES = [sgd_probe, logistic_probe, mlp_classifier, small_attentive, knn_probe]
every_probe = pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)


def test_the_choice_is_by_validation_and_never_by_test():
    val = torch.tensor([[0.1, 0.9, 0.5, 0.9], [0.7, 0.2, 0.6, 0.3]])
    # The best heads on test are others: the answer is .25 and .75, not 1.
    test = torch.tensor([[[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]] * 2)
    test[1, 0] = torch.tensor([1, 1, 1, 0])
    heads = [{"rate": float(i)} for i in range(4)]
    found = choose(val, test, heads, 0.5, torch.arange(4))
    assert found.seeds == (0.25, 0.75) and found.score[:2] == (0.5, 0.5) and found.score.n == 4
    assert found.chosen == ({"rate": 1.0}, {"rate": 0.0})
    # In the middle on val, of four the lower one: head 2 of the first seed and head 3 of the second.
    assert found.median == (0.5 + 1.0) / 2


def test_whole_groups_make_the_interval():
    generator = torch.Generator().manual_seed(0)
    rows = (torch.rand(40, generator=generator) < 0.5).repeat_interleave(10)[None, None]
    heads, groups = [{}], torch.arange(40).repeat_interleave(10)
    width = []
    for each in (groups, torch.arange(400)):
        low, high = choose(torch.ones(1, 1), rows, heads, 0.5, each).score.interval
        width.append(high - low)
    assert 2.5 < width[0] / width[1] < 4  # sqrt(10) for ten copies of each row


@every_probe
def test_bad_splits_are_refused(blobs, probe):
    (train, val, test), groups = blobs
    mixed = groups.clone()
    mixed[-1] = 2
    with pytest.raises(UserError, match="episode 2 is in train and in test; split by episode"):
        probe(train, val, test, mixed)
    broken = train[0].clone()
    broken[7, 1] = float("nan")
    with pytest.raises(UserError, match="train features: row 7 holds NaN"):
        probe((broken, train[1]), val, test, groups)
    for split in range(3):
        poor = [(x, y.clamp(max=2) if i == split else y) for i, (x, y) in enumerate((train, val, test))]
        with pytest.raises(UserError, match=f"{('train', 'val', 'test')[split]} labels: class 3 of 4 has no row"):
            probe(*poor, groups)
    with pytest.raises(UserError, match="one class only"):
        probe(*((x, torch.zeros_like(y)) for x, y in (train, val, test)), groups)
    with pytest.raises(UserError, match="expected integers"):
        probe(*((x, y.float()) for x, y in (train, val, test)), groups)


def test_labels_are_counted():
    y = torch.tensor([0, 2, 1, 1])
    assert check_labels(y, y, y) == 3
    with pytest.raises(UserError, match="val labels: got "):
        check_labels(y, y - 1, y)
