"""Numbers in the data's units and in those of their spread."""

from typing import Any

import torch
from torch import Tensor, nn

from jepa_wm.errors import UserError


class Standard(nn.Module):
    """Take a mean away and divide by a standard deviation, both of the training data and saved with the weights.

    Args:
        size: numbers a row.
        name: of what they are numbers, as the statistics call it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int, name: str) -> None:
        super().__init__()
        self.size, self.name = size, name
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the data's statistics; a number that never varied keeps its unit.

        Raises:
            UserError: if they are not of `size` numbers, or one is not finite, or a deviation below 0.
        """
        mean, std = (torch.tensor(statistics.get(f"{self.name}_{which}", [])) for which in ("mean", "std"))
        if len(mean) != self.size or len(std) != self.size:
            mend = f"set it to {len(mean)}, or use other data" if len(mean) else "use shards of episodes"
            raise UserError(f"the data's {self.name} has {len(mean)} numbers; {self.name}_dim is {self.size}: {mend}")
        if not (mean.isfinite() & std.isfinite() & (std >= 0)).all():
            raise UserError(
                f"the data's {self.name}_mean is {mean.tolist()} and its {self.name}_std {std.tolist()}; expected "
                "numbers, and deviations of 0 or more"
            )
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """Rows (..., size) in the data's units -> in standard deviations from the mean."""
        return (values - self.mean) / self.std

    def inverse(self, values: Tensor) -> Tensor:
        """Rows (..., size) in standard deviations from the mean -> in the data's units."""
        return values * self.std + self.mean
