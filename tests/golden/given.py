"""Masks that are written down."""

import torch

from jepa_wm.data.masks import Mask


class Given:
    """The same masks always: lists of tokens that are seen, and by group those that are predicted."""

    def __init__(self, keep: list, predict: list) -> None:
        self.mask = Mask(torch.tensor(keep), torch.tensor(predict))

    def sample(self, grid: tuple, batch: int, generator: torch.Generator) -> Mask:
        return self.mask
