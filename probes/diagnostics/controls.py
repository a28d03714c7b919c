"""What diagnostics are held against: the same models untrained, the pixels, the state itself."""

from collections.abc import Callable

import torch
from torch import Tensor

from jepa_wm.world_model import WorldModel
from probes.drift import Film, encode
from probes.fresh import fresh

View = Callable[[Tensor, Tensor], Tensor]
"""Pixels uint8 (n, C, H, W) and states (n, P) -> float (n, d)."""


def untrained(model: WorldModel, seed: int = 0) -> WorldModel:
    """A model of the same configuration that was never trained, with the same units and bounds of actions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, dynamics, frames = fresh(model.encoder), fresh(model.dynamics), fresh(model.frames)
    return WorldModel(encoder, dynamics, frames=frames, bounds=model.bounds).to(model.device).eval()


def untrained_dynamics(model: WorldModel, seed: int = 0) -> WorldModel:
    """The model's own encoder with a predictor that was never trained."""
    dynamics = untrained(model, seed).dynamics
    return WorldModel(model.encoder, dynamics, frames=model.frames, bounds=model.bounds).eval()


def views(model: WorldModel, seed: int = 0) -> dict[str, View]:
    """What frames look like to the model and to each control, by name."""
    fresh = untrained(model, seed)
    return {
        "model": lambda pixels, state: encode(model, pixels, state).flatten(1),
        "random_init": lambda pixels, state: encode(fresh, pixels, state).flatten(1),
        "pixels": lambda pixels, state: pixels.flatten(1).float(),
        "state": lambda pixels, state: state,
    }


def seen(view: View, film: Film) -> Tensor:
    """A view (E, T, d) of a film."""
    return view(film.pixels.flatten(0, 1), film.state.flatten(0, 1)).unflatten(0, film.state.shape[:2])
