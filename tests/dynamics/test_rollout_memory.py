"""What a rollout holds in memory: it grows with what candidates imagine, and with nothing that they share."""

from typing import Any

import pytest
import torch

from benchmarks.peak import peak
from jepa_wm.dynamics import TransformerDynamics, Trunk, attention


def rolled_out(model: TransformerDynamics, frames: int, candidates: int) -> int:
    """Bytes at most in a rollout of five steps from what was seen, which is read before."""
    state = model.expand(model.start(torch.randn(1, frames, 4, 8), torch.randn(1, frames - 1, 10)), candidates)
    actions = torch.randn(candidates, 5, 10)
    return peak(lambda: model.future(state, actions))


def test_a_peak_is_all_that_is_there_at_once() -> None:
    def work() -> None:
        first = torch.zeros(1000)
        view = first[10:]
        del first
        view + 1.0
        second = torch.zeros(500)
        del view
        torch.cat([second, second])

    assert peak(work) == 4000 + 3960


@pytest.mark.parametrize("kind", ["adaln", "token"])
@torch.no_grad()
def test_a_rollout_grows_with_what_its_candidates_imagine_and_not_with_what_they_share(
    monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(attention, "BLOCK", 2**13)
    model = TransformerDynamics(8, (2, 2), trunk=Trunk(8, 2, 2), window=40, conditioning=kind).eval()
    least, more = ({count: rolled_out(model, frames, count) for count in (64, 128)} for frames in (1, 24))
    # Of logits, weights and what is between there are a few pieces of 4 bytes each.
    assert more[128] - least[128] < 6 * 4 * 2**13
    assert (more[128] - more[64]) / (least[128] - least[64]) < 1.05
    monkeypatch.setattr(attention, "BLOCK", 2**30)
    assert rolled_out(model, 24, 128) - least[128] > 20 * 4 * 2**13
