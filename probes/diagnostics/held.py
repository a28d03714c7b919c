"""What a world model is diagnosed on: the beginnings of held-out episodes, and what is known of their worlds."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from jepa_wm.data import EpisodeShards
from jepa_wm.envs import PUSH_T, TWO_ROOMS
from jepa_wm.errors import UserError
from jepa_wm.world_model import WorldModel
from probes.drift import Film, film_of, read_film, read_long


class Held(NamedTuple):
    """Episodes of a world.

    Attributes:
        film: of E test episodes.
        fitting: of episodes of "train" and "val", for probes that are fitted.
        environment: gymnasium id; None where the shards do not say.
        factors: of the test episodes' worlds, (E, ...) by name.
    """

    film: Film
    fitting: dict[str, Film]
    environment: str | None
    factors: dict[str, np.ndarray]

    @property
    def rooms(self) -> dict[str, np.ndarray] | None:
        """The factors, where these are two rooms."""
        return self.factors if self.environment == TWO_ROOMS else None

    def require(self, what: str, *environments: str) -> str:
        """The environment, if it is among some.

        Raises:
            UserError: if it is another.
        """
        if self.environment not in environments:
            raise UserError(f"{what}: got episodes of {self.environment}; expected {' or '.join(environments)}")
        return str(self.environment)


def read_held(data: str, model: WorldModel, episodes: int, horizon: int) -> Held:
    """The first frame of each of so many test episodes and of each other split's, and those of `horizon` blocks behind.

    Raises:
        UserError: if the folder holds no finished shards, a split is missing or broken, no episode is long enough, or
            the actions or states are not the model's.
    """
    skip, frames = model.dynamics.frame_skip, horizon + 1
    shards = EpisodeShards(data, "test")
    read = read_long(shards, skip, frames, episodes)
    film = film_of(read, skip, frames)
    environment = (shards.manifest or {}).get("environment")
    ours = environment in (TWO_ROOMS, PUSH_T)
    factors = {name: np.stack([np.asarray(each.factors[name]) for each in read]) for name in read[0].factors if ours}
    fitting = {split: read_film(EpisodeShards(data, split), skip, frames, episodes) for split in ("train", "val")}
    return Held(film, fitting, environment, factors)


def mean_actions(film: Film, model: WorldModel) -> Tensor:
    """The mean action of each block: (E, T - 1, A)."""
    skip = model.dynamics.frame_skip
    return film.actions.unflatten(-1, (skip, film.actions.shape[-1] // skip)).mean(dim=-2)
