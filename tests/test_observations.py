"""Observations of some environments: what each has is picked, what there is one of is for all."""

import torch

from jepa_wm.observations import Observation


def test_what_each_environment_has_is_picked_and_what_there_is_one_of_is_kept() -> None:
    pixels, state = torch.arange(3.0)[:, None, None, None].expand(3, 3, 4, 4), torch.arange(6.0).unflatten(0, (3, 2))
    some = torch.tensor([True, False, True])
    found = Observation(pixels, state).of(some)
    assert torch.equal(found.pixels, pixels[[0, 2]]) and torch.equal(found.state, state[[0, 2]])  # type: ignore[arg-type]
    assert torch.equal(Observation(pixels, state[0]).of(some).state, state[0])  # type: ignore[arg-type]
    assert Observation(pixels).of(some).state is None
    for alone in (pixels[0], pixels[:1]):
        assert torch.equal(Observation(alone, state[0]).of(some).pixels, alone)
