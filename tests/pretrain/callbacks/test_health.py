"""What is measured of held-out samples, of every kind of them; and when the alarm goes off."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from jepa_wm.control.collect import collect
from jepa_wm.data import Episode, EpisodeShards, Shards, ShardWriter
from jepa_wm.data.writer import summarise, write_shard
from jepa_wm.errors import UserError
from jepa_wm.manifest import write_manifest
from pretrain.callbacks.health import Alarm, Health
from pretrain.callbacks.held_out import HeldOut, read_held_out, side_of
from pretrain.callbacks.knowledge import knowledge


def test_moments_of_episodes_are_frames_and_those_after_them(tmp_path: Path) -> None:
    factors = {"agent_color": "sample", "agent_size": "sample"}
    collect(str(tmp_path / "shards"), episodes=100, steps=6, size=16, held_out=0.5, factors=factors)
    episodes = EpisodeShards(tmp_path / "shards", "val")
    held = read_held_out(Shards(tmp_path / "shards", "val"), moments=3, views=2, most=1000, size=None)
    assert held.pixels.shape == (3 * len(episodes), 2, 3, 16, 16) and held.pixels.dtype == torch.uint8
    assert held.sample.tolist() == [number for number in range(len(episodes)) for _ in range(3)]
    for row in (0, 1, 3 * len(episodes) - 1):
        episode = episodes[int(held.sample[row])]
        place = np.flatnonzero((episode.state == held.numbers["position"][row].numpy()).all(axis=1))
        assert any(np.array_equal(held.pixels[row].numpy(), episode.frames[time : time + 2]) for time in place.tolist())
    # A few colours are classes; sizes, drawn from an interval, are measured.
    sizes = torch.tensor([episodes[int(number)].factors["agent_size"] for number in held.sample])
    torch.testing.assert_close(held.numbers["agent_size"][:, 0], sizes)
    colours = [tuple(episodes[int(number)].factors["agent_color"]) for number in held.sample]
    labels = held.labels["agent_color"].tolist()
    assert len(set(zip(colours, labels, strict=True))) == len(set(colours)) == len(set(labels))


def test_no_more_moments_than_asked_for_from_all_over_the_split(shards: Path) -> None:
    count = len(EpisodeShards(shards, "val"))
    held = read_held_out(Shards(shards, "val"), moments=2, views=2, most=8, size=16)
    assert held.pixels.shape == (8, 2, 3, 16, 16)
    numbers = held.sample.unique().tolist()
    assert len(numbers) == 4 and numbers[0] < count / 4 and numbers[-1] >= 3 * count / 4


def write_images(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    """Images of one grey each; the class of image i is i % 3."""

    def samples():
        for number, (height, width) in enumerate(sizes):
            data = io.BytesIO()
            Image.fromarray(np.full((height, width, 3), number, np.uint8)).save(data, "png")
            yield f"i{number}", {"png": data.getvalue(), "cls": str(number % 3).encode()}

    record = write_shard(folder / "val-000000.tar", samples())
    write_manifest(folder, "pack", kind="images", config={}, splits={"val": summarise([record])})
    return folder


def test_images_have_labels_and_crops(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", [(20, 30), (30, 20), (25, 25), (20, 20)] * 3)
    held = read_held_out(Shards(folder, "val"), moments=6, views=3, most=1000, size=16)
    assert held.pixels.shape == (12, 3, 3, 16, 16) and held.labels["label"].tolist() == [0, 1, 2] * 4
    assert held.pixels[:, :, 0, 0, 0].tolist() == [[number] * 3 for number in range(12)] and not held.numbers
    with pytest.raises(UserError, match=r"set health\.size"):
        read_held_out(Shards(folder, "val"), moments=6, views=2, most=1000, size=None)


def test_frames_are_as_large_as_the_trainings() -> None:
    crop, small = v2.RandomResizedCrop(32), v2.Resize(16)
    assert side_of(None) is None and side_of(v2.RandomHorizontalFlip()) is None
    assert side_of(crop) == 32 and side_of(small) == 16 and side_of(v2.CenterCrop((24, 20))) == 20
    assert side_of(v2.Compose([small, v2.RandomHorizontalFlip(), crop, v2.RandomGrayscale()])) == 32


def held_out(samples: int, each: int) -> tuple[Tensor, HeldOut]:
    """Latents whose first dimension is a class, second and third a position, and fourth noise."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.arange(samples).repeat_interleave(each)
    label = torch.randint(3, (samples,), generator=generator)[sample]
    position = torch.randn(samples * each, 2, generator=generator)
    noise = torch.randn(samples * each, 1, generator=generator)
    latents = torch.cat([10.0 * torch.eye(3)[label], position, noise], dim=1)
    numbers = {"position": position, "still": torch.zeros(samples * each, 1), "other": noise.roll(7, 0)}
    return latents, HeldOut(torch.zeros(samples * each, 2), numbers, {"label": label}, sample)


def test_probes_find_what_is_there_and_nothing_else() -> None:
    latents, held = held_out(40, 4)
    found = knowledge(latents, held)
    numbers = {"position_r2", "position_knn_r2", "other_r2", "other_knn_r2"}
    assert set(found) == numbers | {"label_knn", "label_linear"}
    assert found["position_r2"] > 0.99 and found["label_knn"] == found["label_linear"] == 1.0
    assert found["other_r2"] < 0.2
    without = knowledge(latents[:, -1:], held)
    assert without["label_knn"] < 0.7 and without["position_r2"] < 0.2


def test_neighbours_find_what_no_line_does() -> None:
    angle = 2 * torch.pi * torch.rand(400, 1, generator=torch.Generator().manual_seed(0))
    latents = torch.cat([angle.cos(), angle.sin()], dim=1)
    held = HeldOut(torch.zeros(400, 2), {"twice": (2 * angle).cos()}, {}, torch.arange(200).repeat_interleave(2))
    found = knowledge(latents, held)
    assert found["twice_r2"] < 0.1 and found["twice_knn_r2"] > 0.9
    noise = knowledge(torch.randn(400, 2, generator=torch.Generator().manual_seed(1)), held)
    assert noise["twice_knn_r2"] < 0.2


def test_samples_that_are_stored_class_by_class_are_trained_on_all() -> None:
    sample = torch.arange(60).repeat_interleave(2)
    label = sample // 20
    held = HeldOut(torch.zeros(120, 2), {}, {"label": label}, sample)
    assert knowledge(torch.eye(3)[label] + 0.01 * torch.rand(120, 3), held)["label_linear"] == 1.0


def test_too_few_samples_and_latents_that_do_not_vary_are_not_probed() -> None:
    latents, held = held_out(7, 4)
    assert knowledge(latents, held) == {}
    latents, held = held_out(40, 4)
    assert knowledge(torch.ones_like(latents), held) == {}


@pytest.mark.parametrize(
    ("alarm", "name"),
    [
        (Alarm(rankme=3.0), "RankMe of the teacher's held-out latents is 2.5 (below 3; they have 64 dimensions)"),
        (Alarm(lidar=6.0), "LiDAR of the teacher's held-out latents is 5 "),
        (Alarm(spread=0.2), "median spread of the teacher's held-out latents is 0.1 "),
    ],
)
def test_each_bound_raises_the_alarm_of_its_name(alarm: Alarm, name: str) -> None:
    health = {"rankme": 2.5, "lidar": 5.0, "spread_median": 0.1}
    with pytest.warns(UserWarning) as caught:
        alarm(health, progress=0.6, step=12, width=64, whose="teacher")
    (said,) = [str(warning.message) for warning in caught]
    assert said.startswith("collapse: ") and name in said and "at step 12" in said and said.count("held-out") == 1
    with pytest.raises(UserError, match="goes on all the same"):
        Alarm(alarm.rankme, alarm.lidar, alarm.spread, stop=True)(health, progress=0.6, step=12, width=64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alarm(health, progress=0.5, step=10, width=64)
        Alarm()(health, progress=0.6, step=12, width=64)
        alarm({}, progress=0.6, step=12, width=64)


def test_numbers_out_of_range_are_refused(shards: Path) -> None:
    for wrong in ({"frames_per_episode": 0}, {"views": 1}, {"most": 0}):
        with pytest.raises(UserError, match="expected at least 1, 2, 1"):
            Health(Shards(shards, "val"), **wrong)  # type: ignore[arg-type]


def test_factors_that_are_no_numbers_or_not_alike_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    odd: list[dict[str, object]] = [{"shape": "round"}, {"shape": "square"}]
    widths: list[dict[str, object]] = [{"size": [1.0]}, {"size": [1.0, 2.0]}]
    for folder, factors in ((tmp_path / "odd", odd), (tmp_path / "widths", widths)):
        with ShardWriter(folder, "val", 10, "png") as writer:
            for number, own in enumerate(factors):
                frames = rng.integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
                actions, state = np.zeros((3, 2), np.float32), np.zeros((4, 2), np.float32)
                reward, captions = np.zeros(3, np.float32), [""] * 4
                writer.write(Episode(frames, actions, state, reward, captions, own, id=f"e{number}"))  # type: ignore
        write_manifest(folder, "collect", kind="episodes", config={}, splits={"val": writer.summary()})
        held = read_held_out(Shards(folder, "val"), moments=1, views=2, most=10, size=None)
        assert len(held.pixels) == 2 and set(held.numbers) == {"position"} and not held.labels
