"""Masks over the token grid of images and clips: what is seen, and what is to be predicted.

Counts are the same for all samples of a batch, and do not depend on how many there are. The references instead cut each
sample's list of tokens to the batch's shortest, which favours the top left and shows the less the more samples there
are; and I-JEPA's rectangles never reach the last row and column there.
"""

from jepa_wm.data.masks.blockwise import BlockwiseMask
from jepa_wm.data.masks.mask import Mask, Masker
from jepa_wm.data.masks.multi_block import MultiBlockMask
from jepa_wm.data.masks.tubes import TubeMask

__all__ = ["BlockwiseMask", "Mask", "Masker", "MultiBlockMask", "TubeMask"]
