"""Several views of one picture or clip, as a batch brings them."""

from torch import Tensor

from jepa_wm.contracts import Batch
from jepa_wm.errors import UserError


def global_views(batch: Batch, objective: str) -> Tensor:
    """The large views of a batch, uint8 (V, B, …, C, H, W).

    Raises:
        UserError: if the batch has none.
    """
    if "views" not in batch:
        raise UserError(
            f"{objective}: the batch has no 'views', only {sorted(batch)}; the data module takes the objective's "
            "`transform` for them, see jepa_wm.data.transforms.MultiCrop"
        )
    return batch["views"].transpose(0, 1)


def local_views(batch: Batch) -> Tensor | None:
    """The small views of a batch, uint8 (V, B, …, C, h, w), or None."""
    return batch["local_views"].transpose(0, 1) if "local_views" in batch else None
