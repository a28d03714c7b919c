"""What the transformer among the dynamics knows of its tokens: where they stand, how late it is, what was before."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.dynamics.conditioning import KINDS, Kind


def lively(kind: Kind = "adaln") -> TransformerDynamics:
    """A small one away from its initialisation, where nothing would move."""
    torch.manual_seed(0)
    model = TransformerDynamics(8, (1, 3), 2, 3, Trunk(16, 2, 2), window=3, conditioning=kind)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize("residual", [True, False])
@torch.no_grad()
def test_a_new_model_reads_latents_in_their_places_and_adds_to_them_or_not(residual: bool) -> None:
    torch.manual_seed(0)
    model = TransformerDynamics(8, (1, 3), 2, 3, Trunk(16, 2, 2), residual=residual)
    assert (model.leave.weight == 0).all() == residual
    nn.init.normal_(model.leave.weight)
    latents, entrance = torch.randn(2, 4, 3, 8), model.enter.latent
    # Blocks do nothing at first, and the norm has unit weights.
    read = F.layer_norm(latents @ entrance.weight.T + entrance.bias + model.place, (16,))
    said = read @ model.leave.weight.T + model.leave.bias
    expected = latents + said if residual else said
    torch.testing.assert_close(model(latents, torch.randn(2, 4, 6)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_tokens_of_a_frame_differ_in_nothing_but_their_rows_of_the_table(kind: Kind) -> None:
    model, order = lively(kind), [1, 0, 2]
    latents, actions = torch.randn(2, 4, 3, 8), torch.randn(2, 4, 6)
    before = model(latents, actions)
    assert (model(latents[:, :, order], actions)[:, :, order] - before).abs().max() > 0.01
    model.place.copy_(model.place[[*order, 3][: len(model.place)]])
    torch.testing.assert_close(model(latents[:, :, order], actions)[:, :, order], before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("first", [61, 64, 200])
@torch.no_grad()
def test_the_answer_is_the_same_however_late_it_is(first: int) -> None:
    model, nothing = lively(), (None, None)
    latents, actions = torch.randn(2, 5, 3, 8), torch.randn(2, 5, 6)
    early, caches = model.read(latents[:, :2], actions[:, :2], first, nothing)
    late, _ = model.read(latents[:, 2:], actions[:, 2:], first + 2, caches)
    expected = model(latents, actions)
    torch.testing.assert_close(torch.cat([early, late], dim=1), expected, rtol=1e-4, atol=1e-4)
