"""Poses that follow motions, against the published code's numbers and closed forms."""

import json
import math
from pathlib import Path

import torch

from jepa_wm.dynamics.poses import angles, moved, rotation
from tests.golden.formula import tensor

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "vjepa2_ac.json").read_text())


def poses(name: str) -> torch.Tensor:
    found = tensor(name, (8, 1, 7))[:, 0] * torch.tensor([1.0, 1.0, 1.0, 3.0, 1.5, 3.0, 0.5], dtype=torch.float64)
    found[:, 6] += 0.5
    return found


def test_a_moved_pose_is_the_published_one() -> None:
    expected = torch.tensor(GOLDEN["moved"], dtype=torch.float64)
    torch.testing.assert_close(moved(poses("vjepa2_ac.poses"), poses("vjepa2_ac.motions")), expected)


def test_turns_about_one_axis_add_up_and_others_do_not() -> None:
    pose = torch.tensor([1.0, 2.0, 3.0, 0.0, 0.0, 3.0, 0.9], dtype=torch.float64)
    motion = torch.tensor([0.1, 0.0, -0.1, 0.0, 0.0, 1.0, 0.3], dtype=torch.float64)
    expected = torch.tensor([1.1, 2.0, 2.9, 0.0, 0.0, 4.0 - 2 * math.pi, 1.0], dtype=torch.float64)
    torch.testing.assert_close(moved(pose, motion), expected)
    # A quarter about z, then one about the room's x: what pointed along x points along z.
    quarter = math.pi / 2
    first, then = torch.zeros(7, dtype=torch.float64), torch.zeros(7, dtype=torch.float64)
    first[5], then[3] = quarter, quarter
    pointing = rotation(moved(first, then)[3:6])[:, 0]
    torch.testing.assert_close(pointing, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))


def test_angles_are_those_of_their_rotation_and_have_gradient() -> None:
    turns = poses("vjepa2_ac.poses")[:, 3:6]
    turns.requires_grad_(True)
    torch.testing.assert_close(angles(rotation(turns)), turns)
    torch.testing.assert_close(torch.autograd.grad(angles(rotation(turns)).sum(), turns)[0], torch.ones_like(turns))
