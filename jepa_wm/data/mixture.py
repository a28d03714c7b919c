"""Several sources of samples in one, by weight."""

from collections.abc import Sequence

from jepa_wm.data.canvas import Allocate
from jepa_wm.data.order import Mixed, Order
from jepa_wm.data.samples import Row, Samples
from jepa_wm.errors import UserError


class Mixture(Samples):
    """Samples of several sources in given shares; a source that ends is gone through again.

    An epoch is as many samples as the sources hold together. `Loader.drawn` counts what each gave.

    Args:
        samples: the sources, of one kind.
        weights: their shares; they need not sum to 1.

    Raises:
        UserError: if the sources' samples give different numbers of rows.
    """

    def __init__(self, samples: Sequence[Samples], weights: Sequence[float]) -> None:
        self.samples, self.weights = list(samples), list(weights)
        if len({source.rows for source in self.samples}) != 1:
            raise UserError(
                f"the sources of a mixture give {[source.rows for source in samples]} rows a sample; expected as many "
                "of each: set clips_per_episode so, or leave out the source that differs"
            )
        self.rows = self.samples[0].rows

    def __len__(self) -> int:
        return sum(map(len, self.samples))

    def __str__(self) -> str:
        return " and ".join(map(str, self.samples))

    @property
    def sources(self) -> list[Samples]:
        """What it is mixed from."""
        return self.samples

    def order(self, seed: int, shuffle: bool, window: int) -> Order:
        """The order in which samples are drawn."""
        return Mixed([source.order(seed, shuffle, window) for source in self.samples], self.weights, seed)

    def load(self, seed: int, epoch: int, number: int, new: Allocate) -> list[Row]:
        """A mixture's samples are asked for source by source."""
        raise NotImplementedError
