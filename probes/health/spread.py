"""How much each dimension varies by itself."""

from torch import Tensor

from probes.checks import check_rows


def spread(x: Tensor) -> dict[str, float]:
    """Standard deviations over samples of the d dimensions of x (n, d): min, median, max, dead.

    `dead` is the share of dimensions at or below 1 % of the median; 1 where most do not vary at all.

    Raises:
        UserError: x is not a finite matrix of at least 2 rows.
    """
    std = check_rows("x", x, least=2).detach().double().std(dim=0)
    median = std.quantile(0.5).item()
    dead = (std <= 0.01 * median).double().mean().item()
    return {"min": std.min().item(), "median": median, "max": std.max().item(), "dead": dead}
