"""What a controller sees: the observations of any environment as a model's pictures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jepa_wm.control.route import Route
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.errors import UserError
from jepa_wm.goals import Goal, GoalLike, Image, Sum, as_goal
from jepa_wm.observations import Observation
from jepa_wm.world_model import WorldModel


class Sight:
    """Observations of an environment, or of E of them, as pictures of one size.

    Args:
        model: the world model.
        size: side of the pictures that it was trained on. Others are fitted to it: by the encoder's preprocessing if
            that is of this size, else as `collect` does it, cut to a square about the middle and resized. If none is
            given, pictures stay as they are.
    """

    def __init__(self, model: WorldModel, size: int | None = None) -> None:
        self.model, self.size = model, size

    def see(self, observation: Any, state: Any = None) -> tuple[Observation, bool]:
        """What environments show, as tensors with a row for each, and whether it was a single one.

        Args:
            observation: a dictionary with "pixels" and perhaps "state"; or pixels, uint8 with three channels first or
                last, (C, H, W) or (E, C, H, W).
            state: (P,) or (E, P), where the observation has none.

        Raises:
            UserError: if there are no pictures in it, or not a state for each.
        """
        if isinstance(observation, Mapping):
            state = observation.get("state") if state is None else state
            observation = observation.get("pixels")
        pixels = _channels_first(observation)
        state = state if self.model.frames.state_dim else None  # Of what a model does not read it may be anything.
        felt, single = None if state is None else _numbers(state), pixels.ndim == 3
        if single:
            pixels, felt = pixels[None], None if felt is None else felt[None]
        if felt is not None and felt.shape[:-1] != (len(pixels),):
            raise UserError(
                f"controller: got states {tuple(felt.shape)} for {len(pixels)} pictures; expected one for each"
            )
        return Observation(self._fitted(pixels), felt), single

    def goal(self, wanted: GoalLike) -> Goal:
        """The goal that is wanted; pictures are fitted as those that are seen, in what goals are made of, too."""
        several = isinstance(wanted, list | tuple) and any(isinstance(item, np.ndarray) for item in wanted)
        if several or isinstance(wanted, np.ndarray | Tensor):
            return Image(self.see(wanted)[0])
        if isinstance(wanted, Observation):
            return Image(self._goal_seen(wanted))
        goal = as_goal(wanted)
        if isinstance(goal, Sum):
            return replace(goal, goals=[self.goal(each) for each in goal.goals])
        if isinstance(goal, Route):
            return replace(goal, goal=self.goal(goal.goal))
        return replace(goal, seen=self._goal_seen(goal.seen)) if isinstance(goal, Image) else goal

    def _goal_seen(self, wanted: Observation) -> Observation:
        return Observation(self.see(wanted.pixels)[0].pixels, wanted.state)

    def _fitted(self, pixels: Tensor) -> Tensor:
        if self.size is None or pixels.shape[-2:] == (self.size, self.size):
            return pixels
        own = self.model.encoder.preprocessing
        return (own if isinstance(own, Preprocessing) and own.size == self.size else Preprocessing(self.size))(pixels)


def _numbers(state: Any) -> Tensor:
    """A state, or one for each environment, as an environment gives it."""
    try:
        return torch.as_tensor(np.asarray(state, np.float32))
    except (TypeError, ValueError) as error:
        raise UserError(f"controller: got {type(state).__name__} for the state ({error}); expected numbers") from None


def _channels_first(pictures: Any) -> Tensor:
    """Pictures, as an environment gives or renders them, with their channels first."""
    try:
        pixels = torch.as_tensor(np.require(pictures, requirements="W"))
    except (TypeError, ValueError, RuntimeError):  # What is no array, has rows of different lengths, or objects in it.
        pixels = torch.empty(0)
    if pixels.dtype == torch.uint8 and pixels.ndim in (3, 4):
        if pixels.shape[-3] == 3:
            return pixels
        if pixels.shape[-1] == 3:
            return pixels.movedim(-1, -3).contiguous()
    got = f"{pixels.dtype} {tuple(pixels.shape)}" if pixels.numel() else type(pictures).__name__
    raise UserError(
        f"controller: got {got} for what is seen; expected pictures, uint8 (H, W, 3) or "
        "(3, H, W), one or a batch, or a dictionary that has them as 'pixels'; where an environment shows none, "
        "make it with render_mode='rgb_array' and give env.render()"
    )
