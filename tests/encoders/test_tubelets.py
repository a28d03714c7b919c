"""Images' weights in an encoder of clips, and the other way round: a still clip is its picture."""

from pathlib import Path

import pytest
import torch

from jepa_wm.checkpoint import load_module, save_modules
from jepa_wm.encoders import ClassPool, ConvStem, Learned, Rope, SinCos, ViT, load_encoder
from jepa_wm.encoders.tubelets import with_tubelet
from jepa_wm.errors import UserError

KINDS = {
    "rope": {"positions": Rope()},
    "sines": {"positions": SinCos(3), "prefix": 1, "pooling": ClassPool()},
    "table": {"positions": Learned((1, 4, 4)), "levels": (0,)},
    "stem": {"stem": ConvStem(4)},
}


def made(tubelet: int, **options: object) -> ViT:
    torch.manual_seed(0)
    vit = ViT(8, tubelet, 24, 2, 2, **options).double().eval()  # type: ignore[arg-type]
    return vit.requires_grad_(False)


def pictures(frames: int) -> torch.Tensor:
    return torch.randint(0, 256, (2, frames, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tubelet", [2, 3])
def test_a_still_clip_gives_the_tokens_of_the_image(kind: str, tubelet: int) -> None:
    images = made(1, **KINDS[kind])
    picture = pictures(1)
    for clips in (with_tubelet(images, tubelet), with_tubelet(with_tubelet(images, tubelet), 1)):
        still = picture.expand(-1, clips.tubelet, -1, -1, -1)
        for one, other in zip(images.encode(picture), clips.encode(still), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(clips(picture[:, 0]), images(picture), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_each_frame_of_a_tubelet_counts_alike(kind: str) -> None:
    clips, frames = with_tubelet(made(1, **KINDS[kind]), 2), pictures(2)
    assert not torch.allclose(clips(frames), clips(frames[:, :1].expand(-1, 2, -1, -1, -1)))
    torch.testing.assert_close(clips(frames.flip(1)), clips(frames), rtol=1e-12, atol=1e-12)
    if clips.convolutions is None:
        # Linear patches see the mean of the frames.
        images = with_tubelet(clips, 1)
        mean = (images.embedded(frames[:, 0]) + images.embedded(frames[:, 1])) / 2
        torch.testing.assert_close(clips.embedded(frames), mean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_clips_that_differ_from_frame_to_frame_are_summed(kind: str) -> None:
    clips, picture = made(2, **KINDS[kind]), pictures(1)
    images = with_tubelet(clips, 1)
    assert images.tubelet == 1 and images.embed.weight.shape == (24, 3 * 64)
    torch.testing.assert_close(images(picture), clips(picture.expand(-1, 2, -1, -1, -1)), rtol=1e-12, atol=1e-12)
    assert images(pictures(3)).shape[1] == 3 * 16


def test_images_with_an_embedding_of_their_own_keep_it() -> None:
    clips, picture = made(2, modalities=True), pictures(1)
    torch.testing.assert_close(with_tubelet(clips, 1)(picture), clips(picture), rtol=0, atol=0)


def test_only_a_single_frame_becomes_several_or_the_other_way_round() -> None:
    vit = made(2)
    assert with_tubelet(vit, 2) is vit
    for wrong in (4, 3, 0):
        with pytest.raises(UserError, match=rf"got {wrong} for weights of tokens that span 2; expected 2 or one frame"):
            with_tubelet(vit, wrong)


def test_a_video_encoder_begins_with_a_run_on_images(tmp_path: Path) -> None:
    """As a config of pretraining names it; what was trained is saved as any other."""
    save_modules(tmp_path / "images" / "model", {"encoder": made(1).float()})
    clips = load_encoder(str(tmp_path / "images"), tubelet=2)
    with pytest.raises(UserError, match="got 0 for weights of tokens that span 1"):
        load_encoder(str(tmp_path / "images"), tubelet=0)
    assert isinstance(clips, ViT) and clips.tubelet == 2 and "encoder" in clips.source and not clips.training
    picture = pictures(1)
    torch.testing.assert_close(
        clips(picture.expand(-1, 2, -1, -1, -1)), load_encoder(str(tmp_path / "images"))(picture)
    )
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in clips.parameters())
    save_modules(tmp_path / "model", {"encoder": clips})
    torch.testing.assert_close(load_module(tmp_path / "model" / "encoder")(picture), clips(picture))
