"""The same starts and goals in worlds that look or behave otherwise."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from jepa_wm.envs.factors import parse_settings
from jepa_wm.envs.world import VectorWorld
from jepa_wm.errors import UserError


def change_factors(
    environment: str, options: Mapping[str, Any], factors: Mapping[str, Any], tried: np.ndarray, most: int, seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The first `most` episodes that can be with other factors, by number, and the factors of each.

    Episode i draws by a stream of its own, from `seed + i`: it gets the same values whatever the others do.

    Args:
        environment: gymnasium id.
        options: what puts the environment at the starts, goals and factors of E episodes.
        factors: what is changed of these factors, as an environment takes them.
        tried: the numbers of the episodes that are asked about, in order.
        most: how many are wanted.
        seed: of the values that are drawn.

    Raises:
        UserError: if a factor is unknown or a value is not allowed.
    """
    world = gymnasium.make_vec(environment, num_envs=1, vectorization_mode="vector_entry_point", size=8).unwrapped
    assert isinstance(world, VectorWorld)
    parse_settings(world.table, factors, 1)
    kept: list[int] = []
    values: list[dict[str, np.ndarray]] = []
    for number in tried.tolist():
        if len(kept) == most:
            break
        row = slice(number, number + 1)
        own = {name: value[row] for name, value in options["factors"].items()} | dict(factors)
        places = {name: options[name][row] for name in ("state", "goal")}
        try:
            world.reset(seed=seed + number, options={**places, "factors": own})
        except UserError:
            # A wider disc does not fit where a narrow one did.
            continue
        kept.append(number)
        values.append(world.values_of(0))
    names = values[0] if values else {}
    return np.array(kept, np.int64), {name: np.concatenate([each[name] for each in values]) for name in names}
