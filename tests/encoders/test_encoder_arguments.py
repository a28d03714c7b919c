"""Sizes of an encoder that cannot be are refused with what they are and what they should be."""

from collections.abc import Callable

import pytest

from jepa_wm.encoders import AttentionPool, BlockOptions, CentredRope, Rope, ViT
from jepa_wm.errors import UserError


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Rope().rotary((1, 2, 2), 5), "heads of 5 channels; expected 6 at least"),
        (lambda: CentredRope().rotary((1, 2, 2), 6), "heads of 6 channels; expected a multiple of 4"),
        (lambda: ViT(8, 1, 24, 1, 2, pooling=AttentionPool(5)), "5 heads for tokens of 24; expected heads that divide"),
        (lambda: BlockOptions(drop_path=1.5), r"drop_path: got 1\.5; expected 0 or more, and less than 1"),
        (lambda: BlockOptions(drop_path=-0.1), r"drop_path: got -0\.1; expected 0 or more, and less than 1"),
    ],
)
def test_they_are_refused(made: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made()


def test_a_pair_of_channels_for_each_axis_or_four_channels_are_enough() -> None:
    assert Rope().rotary((1, 2, 2), 6).cos.shape == (4, 6) and CentredRope().rotary((1, 2, 2), 4).cos.shape == (4, 4)
