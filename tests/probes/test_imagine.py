"""Imagination is held against what happened, step for step."""

import numpy as np
import pytest
import torch

from jepa_wm.data import EpisodeShards
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.world_model import WorldModel
from probes.features import encode, read_splits
from probes.imagine import Imagination, compare, drift, nearest, position_reader, roll_out, write_imagination


@pytest.fixture(scope="module")
def shards(collection):
    return EpisodeShards(collection, "test")


@pytest.fixture(scope="module")
def trained(world_model):
    """A model whose dynamics answer to actions, as untrained ones do not."""
    torch.manual_seed(1)
    dynamics = TransformerDynamics(latent_dim=16, trunk=Trunk(32, 1, 2))
    for parameter in dynamics.parameters():
        parameter.data = 0.2 * torch.randn_like(parameter)
    return WorldModel(world_model.encoder, dynamics).eval()


def test_real_frames_are_those_after_each_block(world_model, shards):
    imagination = roll_out(world_model, shards)
    assert imagination.frames.shape[:2] == (5, 5)
    for number, episode in enumerate(shards):
        assert np.array_equal(imagination.frames[number], episode.frames[[0, 5, 10, 15, 20]])
        assert np.array_equal(imagination.state[number], episode.state[[0, 5, 10, 15, 20]])
    torch.testing.assert_close(imagination.real[:, 3], encode(world_model.encoder, imagination.frames[:, 3]))


def test_each_step_follows_from_the_last_and_its_own_actions(trained, shards):
    imagined = roll_out(trained, shards).imagined
    episode = shards[2]
    torch.testing.assert_close(imagined[2, :1], encode(trained.encoder, torch.from_numpy(episode.frames[[0]])))
    blocks = torch.from_numpy(episode.actions[:20]).reshape(1, 4, 10)
    with torch.no_grad():
        forced = trained.dynamics(imagined[2:3, :4, None], blocks)[0, :, 0]
    torch.testing.assert_close(imagined[2, 1:], forced)
    assert not torch.allclose(imagined[2, 1:], imagined[2, :-1], atol=1e-2)


def test_a_model_of_a_world_that_stands_still_drifts_like_standing_still(world_model, shards):
    result = drift(roll_out(world_model, shards), lambda z: z[..., :2])
    assert result["step"] == [1, 2, 3, 4]
    np.testing.assert_allclose(result["relative_error"], 1.0)
    assert result["position_error"] == result["position_error_still"]


def test_drift_by_hand():
    state = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]])
    imagined = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [6.0, 8.0]]])
    result = drift(Imagination(torch.zeros(1, 3, 3, 2, 2), state, state, imagined), lambda z: z)
    assert result["latent_error"] == [16.0, 0.0]
    assert result["still_error"] == [25.0, 100.0]
    np.testing.assert_allclose(result["relative_error"], [0.64, 0.0])
    assert result["position_error"] == [4.0, 0.0]
    assert result["position_error_real"] == [0.0, 0.0]
    assert result["position_error_still"] == [5.0, 10.0]


def test_the_reader_finds_a_linear_position():
    torch.manual_seed(0)
    x, matrix = torch.randn(300, 6) + 2, torch.randn(6, 2)
    y = x @ matrix - 5
    read = position_reader((x[:200], y[:200]), (x[200:250], y[200:250]))
    found = read(x[250:].unflatten(0, (10, 5))).flatten(0, 1)
    torch.testing.assert_close(found.float(), y[250:], atol=1e-3, rtol=0)


def test_the_reader_regularises_when_validation_asks_for_it():
    torch.manual_seed(0)
    x, y = torch.randn(300, 40), torch.randn(300, 1)
    read = position_reader((x[:60], y[:60]), (x[60:], y[60:]))
    assert read(x[60:]).std() < 0.2


def test_nearest_is_by_euclidean_distance():
    gallery = torch.tensor([[10.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    queries = torch.tensor([[2.0, 0.0], [0.0, 2.5], [9.0, 9.0]])
    assert nearest(queries, gallery).tolist() == torch.cdist(queries, gallery).argmin(dim=1).tolist() == [1, 2, 0]


def test_films_lie_in_pairs_of_rows():
    values = torch.arange(2 * 3, dtype=torch.uint8).reshape(2, 3, 1, 1, 1)
    above, below = ((values + start).expand(2, 3, 3, 4, 5) for start in (10, 110))
    picture = np.asarray(compare(above, below))
    assert picture.shape == (2 * (4 * 4 + 3 * 2), 2 * (3 * 5 + 2 * 2), 3)
    rows = [0, 12, 24, 36]
    assert picture[rows][:, [0, 14, 28], 0].tolist() == [[10, 11, 12], [110, 111, 112], [13, 14, 15], [113, 114, 115]]
    assert (picture[8:12] == 255).all() and (picture[:, 10:14] == 255).all()


def test_both_files_are_written(tmp_path, trained, shards, collection):
    rows = read_splits(str(collection), 200, 0)
    write_imagination(tmp_path, trained, shards, rows)
    result = read_json(tmp_path / "drift.json")
    assert result["frame_skip"] == 5 and result["episodes"] == 5
    assert (tmp_path / "imagination.png").is_file()


def test_an_episode_shorter_than_a_block_is_refused(shards, world_model):
    model = WorldModel(world_model.encoder, TransformerDynamics(latent_dim=16, frame_skip=40))
    with pytest.raises(UserError, match="25 frames; expected at least 41"):
        roll_out(model, shards)
