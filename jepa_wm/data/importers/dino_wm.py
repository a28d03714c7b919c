"""DINO-WM's data sets: tensors of all episodes, and a file of frames for each."""

import pickle
import pickletools
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jepa_wm.data.episodes import Episode
from jepa_wm.data.importers.base import Importer
from jepa_wm.data.importers.steps import episode_of
from jepa_wm.data.video import Video
from jepa_wm.errors import UserError

LENGTHS = ("seq_lengths.pth", "seq_lengths.pkl")
STATES = ("states.pth", "velocities.pth")
FACTORS = ("door_locations.pth", "wall_locations.pth")


class DinoWm(Importer):
    """Episodes of a DINO-WM data folder (Push-T, PointMaze, Wall, deformables); nothing is unpickled.

    It holds `states.pth` (E, T, P), the actions (E, T, A), `velocities.pth` if there are, put beside the states,
    `seq_lengths.pth` or `.pkl` (all of full length without), and frames in `obses/episode_000.mp4` or `.pth`, or
    in `000000/obses.pth`. The wall's and the door's places become factors.

    Args:
        folder: the folder.
        action: file of the actions; for Push-T `rel_actions.pth` or `abs_actions.pth`.

    Raises:
        UserError: if a file is missing or is not what it should be.

    Source: DINO-WM (arXiv 2411.04983; official code, commit 0a9492f). Actions are stored as they are, where that
    code divides Push-T's by 100.
    """

    kind = "episodes"

    def __init__(self, folder: str, action: str = "actions.pth") -> None:
        self.folder, self.action = folder, action
        self._states, self._actions = _tensor(Path(folder) / STATES[0]), _tensor(Path(folder) / action)
        self._lengths = _lengths(Path(folder), len(self._states), self._states.shape[1])
        if len(self._actions) != len(self._states):
            raise UserError(
                f"{folder} has {len(self._states)} episodes of states and {len(self._actions)} of actions in {action}; "
                "expected as many: name the actions that belong to these states"
            )

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, index: int) -> Episode:
        """See `Importer`."""
        root, length = Path(self.folder), self._lengths[index]
        parts = [_tensor(root / name)[index, :length].flatten(1) for name in STATES if (root / name).exists()]
        factors = {
            name.removesuffix("s.pth"): _tensor(root / name)[index, 0].tolist()
            for name in FACTORS
            if (root / name).exists()
        }
        frames = _frames(root, index)[:length]
        return episode_of(
            f"episode {index} of {self.folder}",
            f"episode-{index:06d}",
            frames,
            self._actions[index, :length].float().numpy(),
            np.concatenate([part.float().numpy() for part in parts], axis=1),
            factors=factors,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "action": self.action}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


@lru_cache(maxsize=8)
def _tensor(path: Path) -> torch.Tensor:
    if not path.exists():
        there = sorted(other.name for other in path.parent.glob("*"))[:20]
        raise UserError(f"{path} is missing; {path.parent} has {there}; name the actions by action")
    return _load(path)


def _load(path: Path) -> torch.Tensor:
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise UserError(f"{path} is no tensor that can be read without running code: {error}") from error
    if not isinstance(value, torch.Tensor):
        raise UserError(f"{path} holds a {type(value).__name__}; expected a tensor")
    return value


def _lengths(folder: Path, episodes: int, longest: int) -> list[int]:
    path = next((folder / name for name in LENGTHS if (folder / name).exists()), None)
    if path is None:
        return [longest] * episodes
    lengths = _tensor(path).tolist() if path.suffix == ".pth" else _plain_list(path)
    if len(lengths) != episodes or not all(isinstance(n, int) and 1 < n <= longest for n in lengths):
        raise UserError(f"{path} holds {len(lengths)} lengths; expected {episodes}, each 2 to {longest}")
    return lengths


def _plain_list(path: Path) -> list[int]:
    """The integers of a pickled list, read off its opcodes: nothing is unpickled."""
    allowed = {"PROTO", "FRAME", "EMPTY_LIST", "MEMOIZE", "BINPUT", "MARK", "APPENDS", "APPEND", "STOP", "LIST"}
    numbers = []
    try:
        for opcode, argument, _ in pickletools.genops(path.read_bytes()):
            if opcode.name in ("BININT", "BININT1", "BININT2", "INT", "LONG1"):
                numbers.append(int(str(argument)))
            elif opcode.name not in allowed:
                raise ValueError(f"it holds {opcode.name}")
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is no pickled list of integers: {error}; store it as seq_lengths.pth") from error
    return numbers


def _frames(root: Path, index: int) -> np.ndarray:
    for path in (root / f"obses/episode_{index:03d}", root / f"{index:06d}/obses"):
        if (film := path.with_suffix(".mp4")).exists():
            try:
                video = Video(film.read_bytes())
                return video.read(range(video.frames))
            except ValueError as error:
                raise UserError(f"{film} cannot be read: {error}") from error
        if (tensor := path.with_suffix(".pth")).exists():
            return _load(tensor).to(torch.uint8).numpy()
    raise UserError(f"{root} has no frames of episode {index}: neither obses/episode_{index:03d}.mp4 nor .pth")
