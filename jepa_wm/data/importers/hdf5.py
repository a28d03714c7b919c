"""Trajectories in one HDF5 file, all steps of all episodes in a row."""

from functools import lru_cache
from typing import Any

import numpy as np

from jepa_wm.data.episodes import Episode
from jepa_wm.data.importers.base import Importer
from jepa_wm.data.importers.steps import episode_of, key_of
from jepa_wm.errors import UserError


class Hdf5(Importer):
    """Episodes of an HDF5 file as stable-worldmodel writes it.

    The file has a data set for each column, in which the steps of all episodes follow each other, and
    `ep_len` and `ep_offset` (E,). Row t of the actions is taken after frame t, so an episode's last is dropped; row t
    of the rewards and of what says that it is over came with frame t, so the first is.

    Args:
        path: the file.
        pixels: column of the frames: uint8 (N, H, W, 3) or (N, 3, H, W).
        action: column of the actions.
        state: columns of the state, put side by side; those that the file lacks are left out.
        reward: column of the rewards; zeros where there is none.
        terminated: column of what says whether the episode is over by itself; where there is none, that is not known.
        caption: column of sentences, if there is one.

    Raises:
        UserError: if the file cannot be read, or lacks the frames, the actions or the lengths.

    Source: the layout of stable-worldmodel's HDF5Writer (format code, commit addbab4).
    """

    kind = "episodes"

    def __init__(
        self,
        path: str,
        pixels: str = "pixels",
        action: str = "action",
        state: list[str] = ["state", "proprio"],  # noqa: B006
        reward: str = "reward",
        caption: str = "caption",
        terminated: str = "terminated",
    ) -> None:
        self.path, self.pixels, self.action = path, pixels, action
        self.state, self.reward, self.caption, self.terminated = list(state), reward, caption, terminated
        file = _open(path)
        if missing := [name for name in (pixels, action, "ep_len", "ep_offset") if name not in file]:
            raise UserError(f"{path} has no {missing}; it has {sorted(file)}; name the columns by pixels, action, …")
        self._lengths, self._offsets = file["ep_len"][:].ravel().tolist(), file["ep_offset"][:].ravel().tolist()

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, index: int) -> Episode:
        """See `Importer`."""
        file, where = _open(self.path), f"episode {index} of {self.path}"
        rows = slice(self._offsets[index], self._offsets[index] + self._lengths[index])
        try:
            wanted = (self.pixels, self.action, *self.state, self.reward, self.terminated)
            columns = {name: file[name][rows] for name in wanted if name in file}
            texts = [_text(value) for value in file[self.caption][rows]] if self.caption in file else ""
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{where} cannot be read: {error}") from error
        parts = [columns[name].reshape(len(columns[name]), -1) for name in self.state if name in columns]
        return episode_of(
            where,
            f"{key_of(self.path)[-60:]}-{index:06d}",
            columns[self.pixels],
            columns[self.action],
            np.concatenate(parts, axis=1) if parts else None,
            columns[self.reward][1:] if self.reward in columns else None,
            texts,
            terminated=bool(columns[self.terminated].ravel()[-1]) if self.terminated in columns else None,
        )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=1)
def _open(path: str) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UserError("HDF5 needs h5py: pip install 'jepa_wm[import]'") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
