"""Imagination is held against what happened, step for step."""

import numpy as np
import pytest
import torch
from PIL import Image

from jepa_wm.data import EpisodeShards
from jepa_wm.dynamics import Ensemble, TransformerDynamics, Trunk, rollouts
from jepa_wm.dynamics.heads import PixelHead, StateHead
from jepa_wm.encoders import PatchFrames, StateFrames, ViT
from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.world_model import WorldModel
from probes.drift import Stray, read_film, stray
from probes.features import read_splits
from probes.imagine import drift, position_reader, write_imagination
from probes.strips import compare, nearest


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


@pytest.fixture(scope="module")
def furnished():
    """An ensemble that reads patches and states, and that is read by heads: where things are, what they look like."""
    torch.manual_seed(2)
    encoder = ViT(patch=16, dim=12, depth=1, heads=2)
    dynamics = Ensemble(TransformerDynamics(16, (2, 2), trunk=Trunk(16, 1, 2)), 3)
    heads = {"where": StateHead(16, 4, 2, 8), "looks": PixelHead(16, 4, 16, 4)}
    for part in (dynamics, *heads.values()):
        for parameter in part.parameters():
            parameter.data = 0.2 * torch.randn_like(parameter)
    return WorldModel(encoder, dynamics, frames=StateFrames(PatchFrames(), 2, 4), heads=heads).eval()


def test_a_film_has_the_frames_after_each_block_that_fits_into_every_episode(shards):
    film = read_film(shards, 5)
    assert film.pixels.shape[:2] == (5, 5)
    for number, episode in enumerate(shards):
        assert np.array_equal(film.pixels[number], episode.frames[[0, 5, 10, 15, 20]])
        assert np.array_equal(film.state[number], episode.state[[0, 5, 10, 15, 20]])


def test_each_step_follows_from_the_last_and_its_own_actions(trained, shards):
    found, episode = stray(trained, read_film(shards, 5)), shards[2]
    imagined = torch.cat([found.still[2:3, :1], found.imagined[2:3]], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(imagined[:, 0, 0], trained.encoder.pooled(torch.from_numpy(episode.frames[[0]])))
    blocks = torch.from_numpy(episode.actions[:20]).reshape(1, 4, 10)
    with torch.no_grad():
        forced = trained.dynamics(imagined[:, :4], blocks)
    torch.testing.assert_close(imagined[:, 1:], forced)
    assert not torch.allclose(imagined[:, 1:], imagined[:, :-1], atol=1e-2)


def test_a_model_of_a_world_that_stands_still_drifts_like_standing_still(world_model, shards):
    film = read_film(shards, 5)
    result = drift(stray(world_model, film), film.state[:, 1:], {"position": lambda z: z[..., 0, :2]})
    assert result["step"] == [1, 2, 3, 4]
    np.testing.assert_allclose(result["relative_error"], 1.0)
    assert result["position_error"] == result["position_error_still"]
    assert "uncertainty" not in result


def test_drift_by_hand():
    state = torch.tensor([[[3.0, 4.0], [6.0, 8.0]]])
    imagined = torch.tensor([[[3.0, 0.0], [6.0, 8.0]]])
    real, uncertainty = state[:, :, None], torch.tensor([[1.0, 3.0]])
    found = Stray(real, imagined[:, :, None], torch.zeros_like(real), uncertainty)
    result = drift(found, state, {"position": lambda z: z[:, :, 0], "my_head": lambda z: z[:, :, 0] + 5})
    assert result["latent_error"] == [16.0, 0.0]
    assert result["still_error"] == [25.0, 100.0]
    np.testing.assert_allclose(result["relative_error"], [0.64, 0.0])
    assert result["position_error"] == [4.0, 0.0]
    assert result["position_error_real"] == [0.0, 0.0]
    assert result["position_error_still"] == [5.0, 10.0]
    np.testing.assert_allclose(result["my_head_error"], [26**0.5, 50**0.5])
    np.testing.assert_allclose(result["my_head_error_real"], [50**0.5] * 2)
    assert result["uncertainty"] == [1.0, 3.0]


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


def test_frames_are_read_as_the_model_reads_them_with_their_states(furnished, shards):
    film = read_film(shards, 5)
    found = stray(furnished, film)
    with torch.no_grad():
        patches = furnished.encoder(film.pixels[:, 2])
        felt = furnished.frames.embed(furnished.frames.standard(film.state[:, 2]))
        torch.testing.assert_close(found.real[:, 1, :, :12], patches)
        torch.testing.assert_close(found.real[:, 1, :, 12:], felt[:, None].expand(-1, 4, -1))
        members = rollouts(furnished.dynamics, found.still[:, :1], film.actions[:, :0], film.actions)
    torch.testing.assert_close(found.imagined, members.mean(dim=0))
    apart = (members - members.mean(dim=0)).square().sum(dim=0) / 2
    torch.testing.assert_close(found.uncertainty, apart.mean(dim=(-2, -1)).sqrt())


def test_what_heads_read_of_imagination_is_written_and_drawn(tmp_path, furnished, shards, collection):
    write_imagination(tmp_path, furnished, shards, read_splits(str(collection), 200, 0))
    result, film = read_json(tmp_path / "drift.json"), read_film(shards, 5)
    found = stray(furnished, film)
    assert result["rows"] == ["real", "nearest", "looks_head"]
    where, looks = furnished.heads["where"], furnished.heads["looks"]
    with torch.no_grad():
        for name, latents in (("", found.imagined), ("_real", found.real)):
            distance = (where(latents) - film.state[:, 1:]).square().sum(dim=-1).sqrt()
            np.testing.assert_allclose(result[f"where_head_error{name}"], distance.mean(dim=0), rtol=1e-5)
        drawn = looks(found.imagined[3, 1])
    np.testing.assert_allclose(result["uncertainty"], found.uncertainty.mean(dim=0), rtol=1e-6)
    picture = np.asarray(Image.open(tmp_path / "imagination.png"))
    assert picture.shape == (2 * (12 * 34 - 2), 2 * (5 * 34 - 2), 3)
    # Sixteen pixels drawn as 32, and these doubled.
    top, left = 2 * 34 * (3 * 3 + 2), 2 * 34 * 2
    cell = picture[top : top + 64, left : left + 64]
    np.testing.assert_array_equal(cell[1::4, 1::4].transpose(2, 0, 1), (drawn * 255).round().byte())
    assert (cell.reshape(16, 4, 16, 4, 3) == cell[::4, ::4].reshape(16, 1, 16, 1, 3)).all()
    seen = picture[top - 2 * 34 * 2 : top - 2 * 34 * 2 + 64, left : left + 64]
    np.testing.assert_array_equal(seen[::2, ::2].transpose(2, 0, 1), film.pixels[3, 2])


def test_films_lie_in_pairs_of_rows():
    values = torch.arange(2 * 3, dtype=torch.uint8).reshape(2, 3, 1, 1, 1)
    above, below = ((values + start).expand(2, 3, 3, 4, 5) for start in (10, 110))
    picture = np.asarray(compare(above, below))
    assert picture.shape == (2 * (4 * 4 + 3 * 2), 2 * (3 * 5 + 2 * 2), 3)
    rows = [0, 12, 24, 36]
    assert picture[rows][:, [0, 14, 28], 0].tolist() == [[10, 11, 12], [110, 111, 112], [13, 14, 15], [113, 114, 115]]
    third = np.asarray(compare(above, below, above))
    assert third.shape == (2 * (6 * 4 + 5 * 2), 2 * (3 * 5 + 2 * 2), 3)
    assert third[::12, 0, 0].tolist() == [10, 110, 10, 13, 113, 13]
    assert (picture[8:12] == 255).all() and (picture[:, 10:14] == 255).all()


def test_both_files_are_written(tmp_path, trained, shards, collection):
    rows = read_splits(str(collection), 200, 0)
    write_imagination(tmp_path, trained, shards, rows)
    result = read_json(tmp_path / "drift.json")
    assert result["frame_skip"] == 5 and result["episodes"] == 5 and result["rows"] == ["real", "nearest"]
    assert (tmp_path / "imagination.png").is_file()


def test_episodes_shorter_than_a_block_are_refused(shards):
    with pytest.raises(UserError, match="shorter than 41 frames, which 2 frames 40 steps apart take; the longest has"):
        read_film(shards, 40)
