"""The world that both sides of `benchmarks.planning` learn and plan in: a disc that walks in two rooms."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from jepa_wm.contracts import Encoder
from jepa_wm.envs.two_rooms import TwoRoomsVectorEnv

SIZE, BLOCK, HORIZON = 64, 5, 5
CLIPS, FRAMES = 4096, 4
"""What is learned from: so many clips of frames, a block of actions apart."""


class Walks(NamedTuple):
    """Walks of blocks of actions: frames uint8 (E, T, C, H, W), states (E, T, 2), blocks of actions (E, T - 1, A)."""

    pixels: Tensor
    state: Tensor
    actions: Tensor


def world(count: int) -> TwoRoomsVectorEnv:
    """So many environments that go on whatever happens."""
    return TwoRoomsVectorEnv(count, SIZE, autoreset_mode=AutoresetMode.DISABLED)


def walk(count: int, blocks: int, seed: int) -> Walks:
    """Walks from anywhere, each more or less one way, in each block of actions another one, but for some noise."""
    random, environment = np.random.default_rng(seed), world(count)
    way = random.uniform(-0.25, 0.25, (count, 1, 2))
    environment.reset(seed=seed)
    pixels, states, actions = [environment.render_states(environment.state)], [environment.state], []
    for _ in range(blocks):
        turned = way + random.normal(0, 0.4, way.shape)
        block = np.clip(turned + random.normal(0, 0.2, (count, BLOCK, 2)), -1, 1).astype(np.float32)
        for action in block.swapaxes(0, 1):
            environment.step(action)
        pixels.append(environment.render_states(environment.state))
        states.append(environment.state)
        actions.append(block.reshape(count, -1))
    return Walks(*(torch.from_numpy(np.stack(part, axis=1)) for part in (pixels, states, actions)))


def write(folder: Path, goals: int) -> Walks:
    """Write what is learned from, and pictures of starts and goals; the walks between these."""
    clips, ways = walk(CLIPS, FRAMES - 1, 0), walk(goals, HORIZON, 1)
    torch.save({"pixels": clips.pixels, "actions": clips.actions}, folder / "clips.pt")
    torch.save({"seen": ways.pixels[:, 0], "goal": ways.pixels[:, -1]}, folder / "goals.pt")
    return ways


@torch.no_grad()
def missed_by(encoder: Encoder, ways: Walks, number: int, plan: Tensor) -> float:
    """How far from its goal a plan (K, A) really leads: the mean square of latents' difference."""
    environment = world(1)
    environment.reset(options={"state": ways.state[number, :1].numpy()})
    for action in plan.reshape(-1, 1, 2).numpy():
        environment.step(action)
    reached = torch.from_numpy(environment.render_states(environment.state))
    came, wanted = encoder.pooled(torch.cat([reached, ways.pixels[number, -1:]]))
    return float((came - wanted).square().mean())
