import pytest
import torch

from jepa_wm.errors import UserError
from probes.heads.controls import controls
from probes.heads.logistic import GRID, logistic_probe
from probes.knn import knn_regress
from probes.linear import ridge_probe


def score(*splits):
    return logistic_probe(*splits, c=GRID[::6]).score


@pytest.fixture
def features(blobs, ignorant):
    """Features that know the classes, that know little, and that know nothing."""
    trained, nothing = ([x for x, _ in splits[0]] for splits in (blobs, ignorant))
    little = [x + 5 * y for x, y in zip(trained, nothing, strict=True)]
    return {"pixels": nothing, "trained": trained, "random_init": little}


def test_the_table_has_every_control(blobs, features):
    targets = [y for _, y in blobs[0]]
    rows = {row.features: row for row in controls(score, features, targets, blobs[1])}
    assert list(rows) == ["trained", "pixels", "random_init", "shuffled_targets"]
    for name, x in features.items():
        assert rows[name].score == score(*zip(x, targets, strict=True), blobs[1])
    assert rows["trained"].selectivity is None and rows["trained"].score.value > 0.99
    for name in ("pixels", "random_init", "shuffled_targets"):
        assert rows[name].selectivity == rows["trained"].score.value - rows[name].score.value
    assert rows["pixels"].score.value < rows["random_init"].score.value < 0.9
    # 60 episodes of five rows, of which each has one label: so many are independent.
    assert rows["shuffled_targets"].score.value <= 0.25 + 4 * (0.25 * 0.75 / 40) ** 0.5


def test_targets_are_shuffled_by_whole_episodes(blobs):
    seen = []

    def probe(train, val, test, groups):
        seen.append([train[1], val[1], test[1]])
        return score(train, val, test, groups)

    x, y = zip(*blobs[0], strict=True)
    controls(probe, {"trained": x}, y, blobs[1], required=())
    for true, shuffled in zip(*seen, strict=True):
        assert not true.equal(shuffled) and true.bincount().equal(shuffled.bincount())
        assert (shuffled.view(-1, 5) == shuffled.view(-1, 5)[:, :1]).all()


def test_a_control_may_not_be_forgotten(blobs, features):
    del features["pixels"]
    targets = [y for _, y in blobs[0]]
    with pytest.raises(UserError, match=r"without \['pixels'\]"):
        controls(score, features, targets, blobs[1])
    with pytest.raises(UserError, match="got 2 splits of targets"):
        controls(score, features, targets[:2], required=())


def smooth_noise(episodes=40, length=30):
    """Walks and other walks: features and targets that drift, and know nothing of each other."""
    generator = torch.Generator().manual_seed(0)
    walks = torch.randn(episodes, length, 12, generator=generator).cumsum(dim=1)
    walks += 20 * torch.randn(episodes, 1, 12, generator=generator)
    return walks[..., :8].flatten(0, 1), walks[..., 8:].flatten(0, 1), torch.arange(episodes * length) // length


def test_frames_of_one_episode_on_both_sides_leak_and_are_refused():
    x, y, episode = smooth_noise()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    by_frame = order.split([700, 200, 300])
    by_episode = torch.arange(len(x)).split([690, 210, 300])

    def value(parts):
        train, _, test = parts
        return knn_regress(x[train], y[train], x[test], y[test], k=5)

    # Nothing is there to be known: an honest split says so, and a split by frame claims nearly all of it.
    assert value(by_episode) < 0.1 < 0.8 < value(by_frame)
    with pytest.raises(UserError, match="split by episode, not by frame"):
        ridge_probe(*((x[part], y[part]) for part in by_frame), groups=episode[torch.cat(by_frame)])
    assert ridge_probe(*((x[part], y[part]) for part in by_episode), groups=episode).r2.value < 0.1
