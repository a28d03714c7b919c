"""Trajectories in a folder of npz files, one an episode."""

from pathlib import Path

import numpy as np

from jepa_wm.data.episodes import Episode
from jepa_wm.data.importers.base import Importer
from jepa_wm.data.importers.steps import episode_of, over
from jepa_wm.errors import UserError


class NpzFolder(Importer):
    """Episodes as `.npz` files anywhere below `folder`; nothing is unpickled.

    Args:
        folder: the folder.
        pixels: name of the frames: uint8 (T, H, W, 3) or (T, 3, H, W).
        action: name of the actions, (T-1, …) or (T, …), of which the last leads nowhere and is dropped.
        state: names of the state's parts, put side by side; those that a file lacks are left out.
        reward: name of the rewards; zeros where there are none.
        terminated: name of what says whether the episode was over by itself after each action, as many as rewards, or
            of one such flag for it all; where it is missing, that is not known.

    Raises:
        UserError: if there is no such file.
    """

    kind = "episodes"

    def __init__(
        self,
        folder: str,
        pixels: str = "pixels",
        action: str = "action",
        state: list[str] = ["state", "proprio"],  # noqa: B006
        reward: str = "reward",
        terminated: str = "terminated",
    ) -> None:
        self.folder, self.pixels, self.action, self.state, self.reward = folder, pixels, action, list(state), reward
        self.terminated = terminated
        self._paths = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*.npz"))
        if not self._paths:
            raise UserError(f"{folder} holds no .npz files; expected one for each episode, in it or below")

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Episode:
        """See `Importer`."""
        path = Path(self.folder) / self._paths[index]
        wanted = (self.pixels, self.action, *self.state, self.reward, self.terminated)
        try:
            with np.load(path, allow_pickle=False) as file:
                there, columns = sorted(file), {name: file[name] for name in wanted if name in file}
        # A file may be no zip, cut off, or hold objects.
        except Exception as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        if missing := [name for name in (self.pixels, self.action) if name not in columns]:
            raise UserError(f"{path} has no {missing}; it has {there}; name them by pixels and action")
        parts = [columns[name].reshape(len(columns[name]), -1) for name in self.state if name in columns]
        state = np.concatenate(parts, axis=1) if parts else None
        # Numbered, since names may differ in letters that a key may not hold.
        name = f"{index:06d}-{Path(self._paths[index]).stem}"[:80]
        frames, reward = columns[self.pixels], columns.get(self.reward)
        ended = over(columns[self.terminated], len(frames), str(path)) if self.terminated in columns else None
        return episode_of(str(path), name, frames, columns[self.action], state, reward, terminated=ended)
