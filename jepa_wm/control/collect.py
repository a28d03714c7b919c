"""Play episodes in an environment and write them to shards."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from tqdm import tqdm

from jepa_wm.data.episodes import Episode, encode
from jepa_wm.data.writer import ShardWriter
from jepa_wm.envs import TWO_ROOMS
from jepa_wm.envs.geometry import distance, geometry
from jepa_wm.envs.language import captions
from jepa_wm.envs.policies import NoisyExpert, RandomWalk
from jepa_wm.envs.vector import TwoRoomsVectorEnv, sample_goal
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path
from jepa_wm.manifest import hash_files, is_complete, read_manifest, stage_run

PARALLEL = 64
EXPERT_NOISE = 0.5
REACHED = 0.03
"""Distance from its goal, in sides of the world, at which the expert is given another one."""


def collect(
    out: str,
    episodes: int = 3000,
    steps: int = 50,
    size: int = 64,
    environment: str = "jepa_wm/TwoRooms-v0",
    factors: dict[str, Any] | None = None,
    expert_fraction: float = 0.5,
    held_out: float = 0.1,
    seed: int = 0,
) -> None:
    """Play episodes in an environment and write them to shards.

    Some episodes are random walks, the others a noisy expert's, who walks to one goal after another.
    Each frame gets a caption written from the state. The same arguments give the same bytes. A folder
    that is complete is left as it is, an interrupted one is begun again.

    Args:
        out: folder for the shards.
        episodes: episodes in all splits together.
        steps: actions in an episode; it has one frame more.
        size: height and width of the frames in pixels.
        environment: gymnasium id of a vectorised environment of this package.
        factors: factors of variation, by name: a value, "default", "sample" or "held_out".
        expert_fraction: share of the episodes that the expert plays.
        held_out: share of the episodes that is kept from training, half for val, half for test.
        seed: seeds everything.

    Raises:
        UserError: if an argument is out of range, the environment or a factor is unknown, or `out`
            holds something else.
    """
    # As JSON gives it back, so that it can be compared with a manifest's.
    config = json.loads(json.dumps({name: value for name, value in locals().items() if name != "out"}))
    counts = _counts(episodes, held_out)
    if steps < 1 or seed < 0 or not 0 <= expert_fraction <= 1:
        raise UserError(
            f"steps is {steps}, seed {seed}, expert_fraction {expert_fraction}; expected >= 1, >= 0, 0 to 1"
        )
    folder = Path(out).resolve()
    if _is_done(folder, config):
        print(f"{out} is complete already")
        return
    world = _make(environment, min(PARALLEL, episodes), size, steps, factors)
    with (
        atomic_path(folder) as aside,
        stage_run(aside, "collect", config) as fields,
        ThreadPoolExecutor(2) as pool,
        _progress(episodes) as bar,
    ):
        writers = {split: ShardWriter(aside, split) for split in counts}
        for number, (split, writer) in enumerate(writers.items()):
            with writer:
                for start in range(0, counts[split], world.num_envs):
                    ids = [f"{split}-{i:06d}" for i in range(start, min(start + world.num_envs, counts[split]))]
                    played = _play(world, ids, steps, expert_fraction, [seed, number, start])
                    for episode, members in zip(played, pool.map(encode, played), strict=True):
                        writer.write_encoded(episode, members)
                        bar.update()
        fields.update(
            environment=environment,
            frame_shape=[3, size, size],
            splits={split: writer.summary() for split, writer in writers.items()},
            statistics=writers["train"].statistics(),
            data_hash=hash_files(list(aside.glob("*.tar"))),
        )


def _progress(episodes: int) -> Any:
    # Silent where nobody is watching: a log file would fill with bars.
    return tqdm(total=episodes, unit="episode", desc="collect", disable=None)


def _counts(episodes: int, held_out: float) -> dict[str, int]:
    if episodes < 3 or not 0 < held_out < 1:
        raise UserError(f"episodes is {episodes}, held_out {held_out}; expected at least 3, and between 0 and 1")
    half = min(max(1, round(episodes * held_out / 2)), (episodes - 1) // 2)
    return {"train": episodes - 2 * half, "val": half, "test": half}


def _is_done(folder: Path, config: dict[str, Any]) -> bool:
    if not is_complete(folder):
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise UserError(f"{folder} exists and is not a finished collection; name another folder or delete it")
        return False
    there = read_manifest(folder, "collect")["config"]
    if differing := sorted(name for name in config if there.get(name) != config[name]):
        raise UserError(
            f"{folder} was collected with other settings: {', '.join(f'{n}={there.get(n)!r}' for n in differing)}; "
            f"got {', '.join(f'{n}={config[n]!r}' for n in differing)}; name another folder or delete it"
        )
    return True


def _make(environment: str, parallel: int, size: int, steps: int, factors: dict[str, Any] | None) -> TwoRoomsVectorEnv:
    try:
        world = gymnasium.make_vec(
            environment,
            num_envs=parallel,
            vectorization_mode="vector_entry_point",
            size=size,
            max_steps=steps,
            factors=factors,
            autoreset_mode=AutoresetMode.DISABLED,
        ).unwrapped
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise UserError(f"environment '{environment}' cannot be made: {error}") from error
    if not isinstance(world, TwoRoomsVectorEnv):
        raise UserError(f"environment '{environment}' is a {type(world).__name__}; only {TWO_ROOMS} has policies")
    return world


def _play(
    world: TwoRoomsVectorEnv, ids: list[str], steps: int, expert_fraction: float, seeds: list[int]
) -> list[Episode]:
    """One episode of each id, all at once; a function of `seeds` alone."""
    world_seed, walk_seed, expert_seed = np.random.SeedSequence(seeds).generate_state(3).tolist()
    rng = np.random.default_rng(seeds)
    observation, _ = world.reset(seed=world_seed)
    walk, expert = RandomWalk(world.num_envs, walk_seed), NoisyExpert(EXPERT_NOISE, expert_seed)
    # Spread over the batch so that any part of it has nearly the exact share.
    is_expert = np.diff(np.floor(np.arange(world.num_envs + 1) * expert_fraction)).astype(bool)
    goal, factors, rooms = np.array(world.goal), world.factor_values, geometry(world.factor_values)
    pixels, states, actions, rewards = [np.array(observation["pixels"])], [np.array(observation["state"])], [], []
    for _ in range(steps):
        for i in np.flatnonzero(distance(states[-1], goal) < REACHED).tolist():
            goal[i] = sample_goal(rooms.take(np.array([i])), states[-1][i], rng)
        moves = (policy(states[-1], goal, factors) for policy in (expert, walk))
        actions.append(np.where(is_expert[:, None], *moves).astype(np.float32))
        observation, reward, *_ = world.step(actions[-1])
        pixels.append(np.array(observation["pixels"]))
        states.append(np.array(observation["state"]))
        rewards.append(np.array(reward, np.float32))
    arrays = [np.stack(parts, axis=1) for parts in (pixels, actions, states, rewards)]
    episodes = []
    for i, name in enumerate(ids):
        own = {factor: np.asarray(values[i]).tolist() for factor, values in factors.items()}
        frames, action, state, reward = (array[i] for array in arrays)
        episodes.append(Episode(frames, action, state, reward, captions(state, own, rng), own, name))
    return episodes
