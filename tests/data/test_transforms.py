"""Transforms: a function of the seed, the same for all frames of a clip, within the ranges they are given."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from jepa_wm.data import Clips, EpisodeShards, Images, Loader, Shards
from jepa_wm.data.transforms import MultiCrop, seeded


def coordinates(size, frames=3):
    """A clip whose pixels say where they are: red is the row, green the column, blue the frame."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack([torch.stack([rows, columns, torch.full_like(rows, t)]) for t in range(frames)]).to(torch.uint8)


def test_a_function_of_the_seed_that_leaves_the_global_generator_alone():
    clip, crop = coordinates(64), v2.RandomResizedCrop(16)
    before = torch.get_rng_state()
    one, same, other = (seeded(crop, clip, *seeds) for seeds in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_an_error_in_a_transform_leaves_the_generator_alone():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        seeded(lambda _: 1 / 0, coordinates(8), 1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("transform", [v2.RandomCrop(16), v2.RandomResizedCrop(16), MultiCrop(16, 8, 3)])
def test_frames_of_a_clip_are_treated_alike(transform):
    clip = coordinates(64)[:1].repeat(4, 1, 1, 1)
    for seed in range(8):
        views = seeded(transform, clip, seed)
        for view in views.values() if isinstance(views, dict) else [views]:
            frames = view.movedim(-4, 0)
            assert len(frames) == 4 and all(torch.equal(frame, frames[0]) for frame in frames)


def test_crops_are_cut_anywhere_and_within_their_scale():
    crop = MultiCrop(32, 16, 4, scale=(0.5, 1.0), local_scale=(0.05, 0.2), colours=False)
    areas = {"views": [], "local_views": []}
    corners = []
    for seed in range(200):
        views = seeded(crop, coordinates(240, frames=1)[0], seed)
        assert views["views"].shape == (2, 3, 32, 32) and views["local_views"].shape == (4, 3, 16, 16)
        for name, part in views.items():
            spans = part[:, :2].float().amax(dim=(2, 3)) - part[:, :2].float().amin(dim=(2, 3))
            areas[name] += (spans.prod(dim=1) / 240**2).tolist()
        corners += views["local_views"][:, :2].amin(dim=(2, 3)).tolist()
    # Interpolation takes half a pixel of the crop off each side.
    assert 0.4 < min(areas["views"]) < 0.55 and max(areas["views"]) > 0.85
    assert 0.03 < min(areas["local_views"]) < 0.06 and 0.15 < max(areas["local_views"]) < 0.21
    assert np.min(corners) < 15 and np.max(corners) > 140


def test_views_are_coloured_each_on_its_own():
    picture = torch.full((3, 64, 64), 100, dtype=torch.uint8)
    picture[0] = 180
    views = seeded(MultiCrop(16, 8, 6), picture, 4)
    colours = torch.cat([views["views"].float().mean((2, 3)), views["local_views"].float().mean((2, 3))])
    assert views["views"].dtype == torch.uint8
    assert len({tuple(colour) for colour in colours.round().tolist()}) >= 6
    plain = seeded(MultiCrop(16, 8, 6, colours=False), picture, 4)["local_views"]
    assert (plain == picture[None, :, :8, :8]).all()


def test_loaders_give_transformed_pixels_the_same_each_time(shards, images):
    clips = Clips(EpisodeShards(shards), 3, clips=2, transform=v2.RandomCrop(4))
    one, other = (list(Loader(clips, 4, seed=1, workers=workers)) for workers in (0, 2))
    assert all(torch.equal(a["pixels"], b["pixels"]) for a, b in zip(one, other, strict=True))
    assert one[0]["pixels"].shape == (4, 3, 3, 4, 4)
    batch = next(iter(Loader(Images(Shards(images), MultiCrop(4, 2, 5, colours=False)), 6)))
    assert batch["views"].shape == (6, 2, 3, 4, 4) and batch["local_views"].shape == (6, 5, 3, 2, 2)
    assert batch["local_views"][:, 0, 0, 0, 0].tolist() == batch["index"][:, 0].tolist()


def test_a_crop_is_exactly_what_torchvision_cuts_there():
    picture = torch.randint(0, 256, (3, 96, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bicubic = v2.InterpolationMode.BICUBIC
    crop = v2.RandomResizedCrop(32, scale=(0.32, 1.0), interpolation=bicubic)
    for seed in range(10):
        drawn = {}
        # The same draws, taken out where the transform would use them.
        seeded(lambda pixels, into=drawn: into.update(crop.make_params([pixels])), picture, seed)
        box = [drawn[name] for name in ("top", "left", "height", "width")]
        expected = functional.resized_crop(picture, *box, [32, 32], interpolation=bicubic, antialias=True)
        assert torch.equal(seeded(crop, picture, seed), expected)
        flips = torch.stack([expected, expected.flip(-1)])
        view = seeded(MultiCrop(32, local_views=0, colours=False), picture, seed)["views"][0]
        assert any(torch.equal(view, flip) for flip in flips)


def test_areas_are_spread_evenly_over_their_scale():
    crop = MultiCrop(32, local_views=0, scale=(0.3, 0.6), colours=False)
    views = torch.cat([seeded(crop, coordinates(240, frames=1)[0], seed)["views"] for seed in range(300)])
    # Interpolation takes half a pixel of the result off each side.
    spans = (views[:, :2].float().amax((2, 3)) - views[:, :2].float().amin((2, 3))) * 32 / 31
    areas = spans.prod(dim=1) / 240**2
    assert abs(areas.mean() - 0.45) < 0.012 and abs(areas.std() - 0.3 / 12**0.5) < 0.012
    assert 0.43 < (views[:, 1, :, 0] > views[:, 1, :, -1]).all(dim=1).float().mean() < 0.57


def test_a_repr_that_a_manifest_can_hold():
    crop = MultiCrop(32, 16, 4, scale=(0.5, 1.0))
    assert repr(crop) == repr(eval(repr(crop))) and "0x" not in repr(crop) and "local_views=4" in repr(crop)


def test_the_global_views_differ_in_blur_and_solarisation():
    bright = torch.full((3, 64, 64), 250, dtype=torch.uint8)
    noise = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    crop = MultiCrop(32, 32, 1, scale=(0.9, 1.0), local_scale=(0.9, 1.0))
    solarised, edges = [], []
    for seed in range(300):
        views = torch.cat(list(seeded(crop, bright, seed).values()))
        # Jitter leaves 250 above 128; solarisation inverts it.
        solarised.append(views.float().mean((1, 2, 3)) < 128)
        edges.append(torch.cat(list(seeded(crop, noise, seed).values())).float().diff(dim=-1).abs().mean((1, 2, 3)))
    first, second, local = torch.stack(solarised).float().mean(0)
    assert first == local == 0 and 0.12 < second < 0.28
    first, second, local = torch.stack(edges).mean(0)
    assert first < 0.85 * local < 0.95 * second
