"""How frames become latents: each by itself, pooled or in patches, with or without the state."""

import pytest
import torch

from jepa_wm.encoders import ClassPool, GridPool, PatchFrames, PooledFrames, ProjectedPool, StateFrames, StateToken, ViT
from jepa_wm.errors import UserError


@pytest.fixture
def encoder() -> ViT:
    torch.manual_seed(0)
    return ViT(8, 1, 24, 1, 2, pooling=GridPool(6, 2)).eval()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 3, 16, 24), dtype=torch.uint8)


@torch.no_grad()
def test_each_frame_is_read_by_itself(encoder: ViT, pixels: torch.Tensor) -> None:
    pooled, patches = PooledFrames()(encoder, pixels), PatchFrames()(encoder, pixels)
    assert pooled.shape == (2, 3, 1, 6) and patches.shape == (2, 3, 6, 24)
    torch.testing.assert_close(pooled[1, 2, 0], encoder.pooled(pixels[1:, 2])[0])
    torch.testing.assert_close(patches[0, 1], encoder(pixels[:1, 1])[0])
    normal = PatchFrames(normalise=True)(encoder, pixels)
    centred = patches - patches.mean(dim=-1, keepdim=True)
    torch.testing.assert_close(normal, centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt())


@torch.no_grad()
def test_the_state_is_beside_every_token_in_units_of_its_spread(encoder: ViT, pixels: torch.Tensor) -> None:
    frames = StateFrames(PatchFrames(), 2, 4)
    frames.prepare({"state_mean": [1.0, -1.0], "state_std": [2.0, 0.0]})
    state = torch.randn(2, 3, 2)
    latents = frames(encoder, pixels, state)
    assert latents.shape[-1] == frames.latent_dim(encoder) == 28
    felt = frames.embed((state - torch.tensor([1.0, -1.0])) / torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(latents[..., 24:], felt[:, :, None].expand(-1, -1, 6, -1))
    torch.testing.assert_close(latents[..., :24], PatchFrames()(encoder, pixels))
    some = StateFrames(PatchFrames(), 2, 4, columns=[1])
    some.prepare({"state_mean": [1.0, -1.0], "state_std": [2.0, 3.0]})
    felt = some.embed((state[..., 1:] + 1.0) / 3.0)
    torch.testing.assert_close(some(encoder, pixels, state)[..., 0, 24:], felt)
    with pytest.raises(UserError, match="got a state of 3 numbers a frame; expected 2"):
        frames(encoder, pixels, torch.zeros(2, 3, 3))
    for kind, few in ((frames, (2, 1, 2)), (StateToken(PatchFrames(), 2), (1, 3, 2))):
        with pytest.raises(UserError, match=r"got states \(., ., 2\) for frames \(2, 3\); expected one for each"):
            kind(encoder, pixels, torch.zeros(few))
    for columns in ([], [0, 2], [-1]):
        with pytest.raises(UserError, match=r"columns: got \[.*\]; expected some of 0 to 1"):
            StateFrames(PatchFrames(), 2, 4, columns=columns)


@torch.no_grad()
def test_the_state_is_a_token_behind_those_of_its_frame_as_it_is(encoder: ViT, pixels: torch.Tensor) -> None:
    frames, state = StateToken(PatchFrames(normalise=True), 2), torch.tensor([3.0, -40.0]).expand(2, 3, 2)
    frames.prepare({"state_mean": [1.0, -1.0], "state_std": [2.0, 3.0]})
    latents = frames(encoder, pixels, state)
    assert frames.latent_dim(encoder) == 24
    torch.testing.assert_close(latents[:, :, :6], PatchFrames(normalise=True)(encoder, pixels))
    assert torch.equal(latents[:, :, 6], torch.tensor([3.0, -40.0] + [0.0] * 22).expand(2, 3, 24))
    # In double precision it is not rounded to float32 on the way, and its type is that of the latents.
    fine = torch.full((2, 3, 2), 1 / 3, dtype=torch.float64)
    assert frames(encoder, pixels, fine).dtype == torch.float32
    assert torch.equal(frames(encoder.double(), pixels, fine)[:, :, 6, :2], fine)
    with pytest.raises(UserError, match="StateToken: got a state of none; expected 2"):
        frames(encoder, pixels)
    with pytest.raises(UserError, match=r"StateToken\.state_dim: got 25; expected 24 or less"):
        StateToken(PatchFrames(), 25)(encoder, pixels, torch.zeros(2, 3, 25))


def test_the_projected_pool_is_normalised_over_the_batch(pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    encoder = ViT(8, 1, 24, 1, 2, prefix=1, pooling=ProjectedPool(5, 16)).train()
    latents = encoder.pooled(pixels.flatten(0, 1))
    hidden = torch.nn.functional.linear(
        encoder.encode(pixels.flatten(0, 1)).prefix[:, 0], *encoder.pool.net[0].parameters()
    )
    normed = (hidden - hidden.mean(dim=0)) / (hidden.var(dim=0, unbiased=False) + 1e-5).sqrt()
    expected = encoder.pool.net[3](torch.nn.functional.gelu(normed))
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-5)
    assert isinstance(encoder.pool.pool, type(ClassPool().build(24, 1))) and encoder.latent_dim == 5
