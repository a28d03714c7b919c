"""Rows of steps, as other formats keep them, made episodes."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from jepa_wm.data.episodes import Episode, check
from jepa_wm.errors import UserError


def episode_of(
    where: str,
    name: str,
    frames: np.ndarray,
    actions: np.ndarray,
    state: np.ndarray | None = None,
    reward: np.ndarray | None = None,
    captions: Sequence[str] | str = "",
    factors: dict[str, Any] | None = None,
    terminated: bool | None = None,
) -> Episode:
    """An episode of T frames from arrays as they are found.

    Args:
        where: what is read, for messages.
        name: of the episode; what a key may not hold is replaced.
        frames: uint8 (T, H, W, 3), (T, 3, H, W) or, grey, (T, H, W, 1) or (T, 1, H, W).
        actions: (T-1, …), or (T, …), of which the last, which leads nowhere, is dropped.
        state: (T, …), flattened; None for a state of no columns.
        reward: (T-1,) or (T,), as actions; None for zeros.
        captions: T sentences, or one for all frames.
        factors: what is the same in all frames.
        terminated: whether it ended by itself at the last frame; None where that is not told.

    Raises:
        UserError: if they do not fit together.
    """
    try:
        pixels = _channels_first(np.asarray(frames))
        count = len(pixels)
        rewards = np.zeros(count - 1) if reward is None else _of_steps("reward", np.asarray(reward), count)
        states = np.zeros((count, 0)) if state is None else np.asarray(state)
        episode = Episode(
            frames=pixels,
            actions=_rows(_of_steps("actions", np.asarray(actions), count)),
            state=_rows(states),
            reward=_rows(rewards)[:, 0],
            captions=[captions] * count if isinstance(captions, str) else list(captions),
            factors=factors or {},
            id=key_of(name),
            terminated=terminated,
        )
        check(episode)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    return episode


def over(flags: np.ndarray, frames: int, where: str) -> bool:
    """Whether an episode of T frames was over by itself at the last, from a flag of it all, or one for each action.

    Args:
        flags: one, (T-1,), or (T,), of which the last is that of an action which leads nowhere.
        frames: T.
        where: what is read, for messages.

    Raises:
        UserError: if there are not so many.
    """
    if flags.size == 1:
        return bool(flags.ravel()[0])
    try:
        return bool(_of_steps("flags of its end", flags.ravel(), frames)[-1])
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def key_of(name: str) -> str:
    """A name with nothing but what a key may hold."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[-80:] or "sample"


def one_hot(actions: np.ndarray, width: int) -> np.ndarray:
    """Discrete actions (T,) as float32 (T, width)."""
    return np.eye(width, dtype=np.float32)[np.asarray(actions, np.int64).ravel()]


def _channels_first(frames: np.ndarray) -> np.ndarray:
    if frames.ndim == 4 and frames.dtype == np.uint8:
        if frames.shape[3] in (1, 3):
            frames = frames.transpose(0, 3, 1, 2)
        if frames.shape[1] in (1, 3):
            return np.repeat(frames, 3, axis=1) if frames.shape[1] == 1 else frames
    raise ValueError(f"frames are {frames.dtype} {frames.shape}; expected uint8 (T, H, W, 3) or (T, 3, H, W)")


def _of_steps(name: str, rows: np.ndarray, frames: int) -> np.ndarray:
    if len(rows) not in (frames - 1, frames):
        raise ValueError(f"it has {len(rows)} {name} for {frames} frames; expected {frames - 1} or {frames}")
    return rows[: frames - 1]


def _rows(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.reshape(len(values), int(np.prod(values.shape[1:]))), np.float32)
