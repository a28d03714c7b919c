"""Films and what strays from them: against the episodes themselves, and models whose errors are known."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from jepa_wm.control.collect import collect
from jepa_wm.data import Episode, EpisodeShards, ShardWriter
from jepa_wm.dynamics import Ensemble, MLPDynamics, TransformerDynamics, Trunk, rollout
from jepa_wm.encoders import GridPool, PatchFrames, ViT
from jepa_wm.errors import UserError
from jepa_wm.world_model import WorldModel
from probes.drift import in_variances, noisy, read_film, stray


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> EpisodeShards:
    folder = tmp_path_factory.mktemp("drift") / "shards"
    collect(str(folder), episodes=12, steps=12, size=16, held_out=0.5)
    return EpisodeShards(str(folder), "test")


def encoder() -> ViT:
    torch.manual_seed(0)
    return ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2)).eval()


def test_a_film_is_the_beginning_of_episodes_with_the_actions_between_its_frames(shards: EpisodeShards) -> None:
    film = read_film(shards, 3, 4, 2)
    assert film.pixels.shape == (2, 4, 3, 16, 16)
    for number in range(2):
        episode = shards[number]
        np.testing.assert_array_equal(film.pixels[number], episode.frames[[0, 3, 6, 9]])
        np.testing.assert_array_equal(film.state[number], episode.state[[0, 3, 6, 9]])
        np.testing.assert_array_equal(film.actions[number, 1], episode.actions[3:6].reshape(-1))
    with pytest.raises(UserError, match="shorter than 16 frames, which 4 frames 5 steps apart"):
        read_film(shards, 5, 4, 2)


def shortened(episode: Episode, frames: int) -> Episode:
    parts = {name: getattr(episode, name)[:frames] for name in ("frames", "state", "captions")}
    steps = {name: getattr(episode, name)[: frames - 1] for name in ("actions", "reward")}
    return episode._replace(**parts, **steps)


def test_one_short_episode_does_not_shorten_the_film_of_the_others(tmp_path: Path) -> None:
    collect(str(tmp_path / "long"), episodes=13, steps=12, size=16)
    folder = shutil.copytree(tmp_path / "long", tmp_path / "shards", ignore=shutil.ignore_patterns("train-*"))
    with ShardWriter(folder, "train") as writer:
        for number, episode in enumerate(EpisodeShards(str(tmp_path / "long"), "train")):
            writer.write(shortened(episode, 4) if number == 3 else episode)
    with pytest.warns(UserWarning, match="1 of 11 episodes of .* are shorter than 13 frames, .* and skipped"):
        film = read_film(EpisodeShards(str(tmp_path / "shards"), "train"), 3)
    assert film.pixels.shape[:2] == (10, 5)


def test_shards_in_which_nothing_can_be_read_are_refused(tmp_path: Path) -> None:
    collect(str(tmp_path / "shards"), episodes=3, steps=4, size=16)
    shard = next((tmp_path / "shards").glob("test-*.tar"))
    content = shard.read_bytes()
    at = content.index(b"test-000000.json") + 512
    shard.write_bytes(content[:at] + b"?" + content[at + 1 :])
    with pytest.raises(UserError, match="shorter than 4 frames, which 2 frames 3 steps apart take; the longest has 0"):
        read_film(EpisodeShards(str(tmp_path / "shards"), "test"), 3)


def test_a_still_model_strays_as_far_as_standing_still_and_no_model_uses_what_it_may_not_see(
    shards: EpisodeShards,
) -> None:
    film = read_film(shards, 3, 4, 3)
    still = WorldModel(encoder(), MLPDynamics(6, 1, 2, 3)).eval()
    found = stray(still, film, seen=2)
    torch.testing.assert_close(found.imagined, found.still)
    torch.testing.assert_close(found.real, still.encode(film.pixels)[:, 2:])
    assert found.uncertainty is None

    moving = TransformerDynamics(24, (2, 2), 2, 3, Trunk(12, 1, 2), window=3).eval()
    with torch.no_grad():
        for parameter in moving.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model = WorldModel(encoder(), moving, frames=PatchFrames()).eval()
        z = model.encode(film.pixels)
        expected = rollout(moving, z[:, :2], film.actions[:, :1], film.actions[:, 1:])
    torch.testing.assert_close(stray(model, film, seen=2).imagined, expected)
    other = film._replace(pixels=torch.cat([film.pixels[:, :2], 255 - film.pixels[:, 2:]], dim=1))
    torch.testing.assert_close(stray(model, other, seen=2).imagined, expected)


def test_an_ensemble_has_an_uncertainty_for_each_step(shards: EpisodeShards) -> None:
    film = read_film(shards, 3, 4, 3)
    made = Ensemble(TransformerDynamics(6, (1, 1), 2, 3, Trunk(12, 1, 2)), 3).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model = WorldModel(encoder(), made).eval()
    found = stray(model, film).uncertainty
    assert found is not None
    alone = model.imagine(film.pixels[:, :1], film.actions, clip=True).uncertainty
    torch.testing.assert_close(found, alone)


def test_errors_are_in_parts_of_the_variance_of_what_is_real() -> None:
    torch.manual_seed(0)
    real = torch.randn(400, 5, 1, 3, dtype=torch.float64) * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    mean = real.mean(dim=(0, 1)).expand_as(real)
    assert in_variances(mean, real).mean().item() == pytest.approx(1.0, rel=1e-3)
    variance = real.flatten(0, 1).var(dim=0).sum()
    torch.testing.assert_close(in_variances(real + 1.0, real), (3.0 / variance).expand(400, 5))


def test_noise_on_the_pixels_is_small_and_the_same_for_a_seed(shards: EpisodeShards) -> None:
    film = read_film(shards, 3, 4, 3)
    model = WorldModel(encoder(), MLPDynamics(6, 1, 2, 3)).eval()
    first, again, other = (noisy(model, film, seed) for seed in (0, 0, 1))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    real = model.encode(film.pixels)
    assert 0 < (first - real).square().mean() < 0.1 * real.var(dim=0).mean()
