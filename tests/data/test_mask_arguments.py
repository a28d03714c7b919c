"""Masks at the edge of what can be asked: one token stays seen, and what leaves none is refused."""

from collections.abc import Callable

import pytest
import torch

from jepa_wm.data.masks import BlockwiseMask, MultiBlockMask, TubeMask
from jepa_wm.errors import UserError


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: TubeMask(blocks=-1), r"TubeMask\.blocks: got -1; expected 1 at least"),
        (lambda: TubeMask(scale=15), r"TubeMask\.scale: got \(15, 15\); expected shares between 0 and 1"),
        (lambda: TubeMask(aspect=(0.0, 1.0)), r"TubeMask\.aspect: got \(0\.0, 1\.0\); expected a range above 0"),
        (lambda: MultiBlockMask(targets=0), r"MultiBlockMask\.targets: got 0; expected 1 at least"),
        (lambda: MultiBlockMask(context=(0.9, 0.8)), r"MultiBlockMask\.context: .* the lower first"),
        (lambda: MultiBlockMask(aspect=(1.5, 0.75)), r"MultiBlockMask\.aspect: .* its lower end first"),
        (lambda: BlockwiseMask(share=2), r"BlockwiseMask\.share: got \(2, 2\); expected shares between 0 and 1"),
        (lambda: BlockwiseMask(ratio=(1, 2)), r"BlockwiseMask\.ratio: got \(1, 2\); expected shares between 0 and 1"),
    ],
)
def test_arguments_out_of_range_are_refused(made: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made()


@pytest.mark.parametrize(
    ("mask", "side", "message"),
    [
        (TubeMask(), 1, "frames of one token; expected two at least"),
        (MultiBlockMask(1, (1.0, 1.0), (1.0, 1.0)), 6, "leave nothing to be seen of 6 x 6 tokens"),
    ],
)
def test_masks_that_leave_nothing_to_be_seen_are_refused(
    mask: TubeMask | MultiBlockMask, side: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        mask.sample((1, side, side), 2, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("scale", "hidden"), [(0.0, 1), (1.0, 8)])
def test_tubes_hide_one_token_of_a_frame_at_least_and_show_one(scale: float, hidden: int) -> None:
    mask = TubeMask(1, scale, (1.0, 1.0)).sample((2, 3, 3), 4, torch.Generator().manual_seed(0))
    assert mask.predict.shape == (4, 1, 2 * hidden) and mask.keep.shape == (4, 2 * (9 - hidden))
