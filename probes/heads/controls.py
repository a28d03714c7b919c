"""The same probe on features that should know less, and on targets that mean nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from probes.linear import NAMES, Split
from probes.statistics import shuffle_groups

Probe = Callable[[Split, Split, Split, Tensor | None], Score]
"""Train, val, test and groups -> the score, as `lambda *splits: logistic_probe(*splits).score`."""
TRAINED, CONTROLS, SHUFFLED = "trained", ("random_init", "pixels"), "shuffled_targets"


class Control(NamedTuple):
    """A row of the table.

    Attributes:
        features: what was probed.
        score: of the probe.
        selectivity: the trained features' value minus this one's; None in their own row. What a control knows, too,
            the training has not taught.
    """

    features: str
    score: Score
    selectivity: float | None


def controls(
    probe: Probe,
    features: Mapping[str, Sequence[Tensor]],
    targets: Sequence[Tensor],
    groups: Tensor | None = None,
    required: tuple[str, ...] = CONTROLS,
    seed: int = 0,
) -> list[Control]:
    """Probe trained features, then every other of `features`, then the trained ones for shuffled targets.

    Targets are shuffled by whole groups within each split, so that a shuffled one is as smooth in time as a true one.
    A probe that scores above chance there remembers or leaks.

    Args:
        probe: of one kind and one recipe for all.
        features: by name, those of train, val and test, each (n, d) or whatever the probe takes; "trained", those
            `required`, and any others, such as those of another encoder.
        targets: of train, val and test; the same samples in the same order.
        groups: episode (n_train + n_val + n_test,) of every row, in this order; None: each row its own.
        required: controls without which there is no table.
        seed: of the shuffling.

    Raises:
        UserError: the trained features or a required control are missing, splits are not three, or what the probe
            raises.

    Source: selectivity is Hewitt & Liang's (arXiv 1909.03368), there against random targets of each word.
    """
    missing = [name for name in (TRAINED, *required) if name not in features]
    if missing:
        raise UserError(
            f"controls: got features {sorted(features)} without {missing}; a score means little without them. Give "
            "those of an encoder of the same configuration that was never trained, and of raw pixels, or name in "
            "`required` the controls that there can be"
        )
    for name, splits in (*features.items(), ("targets", targets)):
        if len(splits) != len(NAMES):
            raise UserError(f"controls: got {len(splits)} splits of {name}; expected those of {', '.join(NAMES)}")
    generator = torch.Generator().manual_seed(seed)
    sizes = [len(part) for part in targets]
    parts = (torch.arange(sum(sizes)) if groups is None else groups).split(sizes)
    shuffled = [y[shuffle_groups(part, generator)] for y, part in zip(targets, parts, strict=True)]

    def score(x: Sequence[Tensor], y: Sequence[Tensor]) -> Score:
        return probe((x[0], y[0]), (x[1], y[1]), (x[2], y[2]), groups)

    scores = {TRAINED: score(features[TRAINED], targets)}
    scores |= {name: score(x, targets) for name, x in features.items() if name != TRAINED}
    scores[SHUFFLED] = score(features[TRAINED], shuffled)
    value = scores[TRAINED].value
    return [Control(name, each, None if name == TRAINED else value - each.value) for name, each in scores.items()]
