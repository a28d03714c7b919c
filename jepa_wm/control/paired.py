"""Two policies on the same goals: how far apart they are, and whether chance would do that."""

import numpy as np

from jepa_wm.statistics import NORMAL, effective_size

HALVINGS = 60


def sign_flip_test(differences: np.ndarray, groups: np.ndarray) -> float:
    """How often chance alone would part two policies as far as they are: an exact p-value, two-sided.

    Under the null the policies could change places in each group: its sum of differences has either sign. Where each
    episode is a group of its own, that is McNemar's exact test.

    Args:
        differences: of success, -1, 0 or 1, (n,).
        groups: what is not independent has one name, (n,).

    Source: McNemar 1947; Fisher's randomisation of signs, here over whole groups, by convolution.
    """
    index = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(index, differences).round().astype(int)
    chances = np.ones(1)
    for step in np.abs(sums[sums != 0]):
        wider = np.zeros(len(chances) + 2 * step)
        wider[: len(chances)] += chances / 2
        wider[2 * step :] += chances / 2
        chances = wider
    totals = np.arange(len(chances)) - len(chances) // 2
    return min(1.0, float(chances[np.abs(totals) >= abs(sums.sum())].sum()))


def paired_interval(differences: np.ndarray, groups: np.ndarray, z: float = NORMAL) -> tuple[float, float]:
    """Interval of the mean of differences -1, 0 or 1 (n,): all that a score test at `z` would not refuse.

    Of as many pairs as `effective_size` finds. It has a width also where the policies never differ.

    Source: Tango 1998; here it is solved by halving.
    """
    n = effective_size(differences, groups)
    gain, loss = n * float(np.mean(differences > 0)), n * float(np.mean(differences < 0))

    def refused(difference: float) -> bool:
        """Whether gain and loss are too far from this difference, at the losses that are likeliest under it."""
        half = (2 * n - gain + loss) * difference - gain - loss
        root = np.sqrt(max(0.0, half * half + 8 * n * loss * difference * (1 - difference)))
        variance = n * ((root - half) / (2 * n) + difference * (1 - difference))
        return bool((gain - loss - n * difference) ** 2 > z * z * variance)

    middle = (gain - loss) / n
    ends = []
    for end in (-1.0, 1.0):
        inside, outside = middle, end
        for _ in range(HALVINGS):
            between = (inside + outside) / 2
            inside, outside = (inside, between) if refused(between) else (between, outside)
        ends.append(inside)
    return ends[0], ends[1]
