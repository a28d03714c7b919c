"""Minari's data sets."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jepa_wm.data.episodes import Episode
from jepa_wm.data.importers.base import Importer
from jepa_wm.data.importers.steps import episode_of, key_of, one_hot
from jepa_wm.errors import UserError


class Minari(Importer):
    """Episodes of a Minari data set whose observations hold pictures; discrete actions become one-hot vectors.

    Args:
        dataset: id of a data set that is on this machine, such as `atari/breakout/expert-v0`, or its folder.
        pixels: entry of the observations that holds the pictures; not needed where they are nothing else.
        caption: sentence for all frames, or "".

    Raises:
        UserError: if there is no such data set, or no such entry.
    """

    kind = "episodes"

    def __init__(self, dataset: str, pixels: str = "pixels", caption: str = "") -> None:
        self.dataset, self.pixels, self.caption = dataset, pixels, caption
        self._episodes: list[int] = [int(number) for number in _load(dataset).episode_indices]

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, index: int) -> Episode:
        """See `Importer`."""
        data, where = _load(self.dataset), f"episode {index} of {self.dataset}"
        try:
            episode = data[index]
        # Storage back ends raise errors of their own.
        except Exception as error:
            raise UserError(f"{where} cannot be read: {error}") from error
        pictures, state = self._observations(episode.observations, where)
        actions = np.asarray(episode.actions)
        if type(data.action_space).__name__ == "Discrete":
            actions = one_hot(actions - int(data.action_space.start), int(data.action_space.n))
        name = f"{key_of(self.dataset)[-60:]}-{self._episodes[index]:06d}"
        reward = np.asarray(episode.rewards, np.float32)
        ended = bool(np.asarray(episode.terminations)[-1])
        return episode_of(where, name, pictures, actions, state, reward, self.caption, terminated=ended)

    def _observations(self, observations: Any, where: str) -> tuple[np.ndarray, np.ndarray | None]:
        if not isinstance(observations, dict):
            return np.asarray(observations), None
        if self.pixels not in observations:
            raise UserError(f"{where} observes {sorted(observations)}; name the pictures among them by pixels")
        pictures = np.asarray(observations[self.pixels])
        rest = [np.asarray(observations[name]) for name in sorted(observations) if name != self.pixels]
        return pictures, np.concatenate([part.reshape(len(part), -1) for part in rest], axis=1) if rest else None


@lru_cache(maxsize=1)
def _load(dataset: str) -> Any:
    try:
        import minari
    except ImportError as error:
        raise UserError("Minari needs its package: pip install 'jepa_wm[import]'") from error
    folder = Path(dataset)
    try:
        return (
            minari.MinariDataset(folder / "data" if (folder / "data").is_dir() else folder)
            if folder.is_dir()
            else (minari.load_dataset(dataset))
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"there is no Minari data set '{dataset}' here: {error}; `minari download` fetches one"
        ) from error
