"""A world model as programs that run where nothing but PyTorch is."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from jepa_wm import __version__
from jepa_wm.dynamics import Ensemble, rollout
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path
from jepa_wm.world_model import WorldModel

NOTES = "world_model.json"
"""What a program says of itself: `torch.export.load(path, extra_files={NOTES: ""})` fills it in."""
PROGRAMS = ("encode.pt2", "rollout.pt2")


class Encode(nn.Module):
    """Pixels uint8 (B, 3, H, W), and the state (B, P) where it is read -> latents (B, N, D)."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.encoder, self.frames = model.encoder, model.frames

    def forward(self, pixels: Tensor, state: Tensor | None = None) -> Tensor:
        """One frame of each environment, or of each goal."""
        latents: Tensor = self.frames(self.encoder, pixels[:, None], None if state is None else state[:, None])
        return latents[:, 0].float()


class Rollout(nn.Module):
    """Latents (B, N, D), and blocks of actions from there on (B, K, frame_skip * A) -> latents (B, K, N, D)."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        dynamics = model.dynamics
        # One by one, for vmap cannot be traced with a batch of any size.
        self.members = nn.ModuleList(dynamics.apart() if isinstance(dynamics, Ensemble) else [dynamics])

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """The latents after each block; of an ensemble, the mean of its members."""
        seen, none = latents[:, None], actions[:, :0]
        futures = [rollout(member, seen, none, actions) for member in self.members]  # type: ignore[arg-type]
        return torch.stack(futures).mean(dim=0).float()


def export(model: str, out: str, size: int, horizon: int = 8) -> None:
    """Write a world model as two programs, encode.pt2 and rollout.pt2, that run where nothing but PyTorch is.

    Args:
        model: run folder of a world model, a saved folder, or its name on the hub.
        out: folder for the programs.
        size: height and width of the pictures in pixels.
        horizon: blocks of actions K in a rollout.

    Raises:
        UserError: if a number is out of range, `out` holds anything but an earlier export, which is replaced, or the
            model cannot be exported.
    """
    if size < 1 or horizon < 1:
        raise UserError(f"export: got size {size} and horizon {horizon}; expected 1 or more")
    _check_free(Path(out))
    world_model = WorldModel.from_pretrained(model)
    notes = {"jepa_wm": __version__, "size": size, "horizon": horizon, **_notes(world_model)}
    with atomic_path(out) as aside:
        aside.mkdir()
        for name, program in programs(world_model, size, horizon).items():
            torch.export.save(program, aside / f"{name}.pt2", extra_files={NOTES: json.dumps(notes)})
    print(json.dumps(notes))


def _check_free(folder: Path) -> None:
    """Refuse a folder with anything in it but programs, since it is replaced as a whole."""
    if folder.is_dir() and (others := sorted({path.name for path in folder.iterdir()} - set(PROGRAMS))):
        raise UserError(
            f"export: {folder} holds {others[0]}; expected a folder that is new, empty or an earlier export"
        )


def _notes(model: WorldModel) -> dict[str, Any]:
    """What one must know of a model to give its programs actions and states."""
    dynamics, bounds = model.dynamics, model.bounds
    return {
        "action_dim": dynamics.action_dim,
        "frame_skip": dynamics.frame_skip,
        "low": bounds.low.tolist(),
        "high": bounds.high.tolist(),
        "state_dim": model.frames.state_dim,
    }


def programs(model: WorldModel, size: int, horizon: int) -> dict[str, ExportedProgram]:
    """The programs "encode" and "rollout" of a model, for any B, pictures of `size` and `horizon` blocks.

    Raises:
        UserError: if a part of the model cannot be exported, or does not take pictures of this size.
    """
    encode, rollout, two = Encode(model), Rollout(model), 2  # one environment might be taken for a constant
    pixels = torch.zeros(two, 3, size, size, dtype=torch.uint8, device=model.device)
    felt = model.frames.state_dim
    seen = (pixels, pixels.new_zeros(two, felt, dtype=torch.float32)) if felt else (pixels,)
    with torch.no_grad():
        latents = encode(*seen)
    block = model.dynamics.frame_skip * model.dynamics.action_dim
    return {
        "encode": _exported(encode, seen, type(model.encoder).__name__),
        "rollout": _exported(rollout, (latents, latents.new_zeros(two, horizon, block)), type(model.dynamics).__name__),
    }


def _exported(module: nn.Module, inputs: tuple[Tensor, ...], name: str) -> ExportedProgram:
    batch = Dim("B")
    try:
        with torch.no_grad():
            return torch.export.export(module.eval(), inputs, dynamic_shapes=[{0: batch} for _ in inputs])
    # Tracing raises what it meets.
    except Exception as error:
        raise UserError(f"export: torch.export cannot trace {name}: {str(error).strip().splitlines()[0]}") from error
