"""Play episodes in an environment and write them to shards."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from jepa_wm.control.single_player import SinglePlayer
from jepa_wm.control.two_rooms_player import TwoRoomsPlayer
from jepa_wm.control.world_player import WorldPlayer
from jepa_wm.data.episodes import DEFAULT_CODEC
from jepa_wm.data.writer import ShardWriter
from jepa_wm.envs import PUSH_T, TWO_ROOMS
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path
from jepa_wm.manifest import hash_shards, is_done, stage_run

Player = WorldPlayer | SinglePlayer
PARALLEL = 64


def collect(
    out: str,
    episodes: int = 3000,
    steps: int = 50,
    size: int = 64,
    environment: str = TWO_ROOMS,
    factors: dict[str, Any] | None = None,
    expert_fraction: float = 0.5,
    scenes: bool = False,
    held_out: float = 0.1,
    codec: str = DEFAULT_CODEC,
    quality: int | None = None,
    seed: int = 0,
) -> None:
    """Play episodes in an environment and write them to shards.

    In the two-room world and in Push-T some episodes are random walks, the others a noisy expert's, who goes from
    one goal to another, and each frame gets a caption written from the state. Elsewhere actions are random, or
    those of the environment's own expert if it has one, and `factors` mean nothing. The same arguments give the
    same bytes. A folder that is complete is left as it is, an interrupted one is begun again.

    Args:
        out: folder for the shards.
        episodes: episodes in all splits together.
        steps: actions in an episode, at most; it has one frame more.
        size: height and width of the frames in pixels.
        environment: gymnasium id, "module:id" where a module registers it.
        factors: factors of variation, by name: a value, "default", "sample" or "held_out".
        expert_fraction: share of the episodes that the expert plays.
        scenes: whether captions of the two rooms describe wall, doors and floors too.
        held_out: share of the episodes that is kept from training, half for val, half for test.
        codec: how frames are stored: mjpeg, webp, png or mp4; see docs/shards.md.
        quality: of the codec; its own by default.
        seed: seeds everything.

    Raises:
        UserError: if an argument is out of range, the environment or a factor is unknown, or `out`
            holds something else.
    """
    config = {name: value for name, value in locals().items() if name != "out"}
    counts = _counts(episodes, held_out)
    if steps < 1 or seed < 0:
        raise UserError(f"steps is {steps}, seed {seed}; expected at least 1 and 0")
    folder = Path(out).resolve()
    if is_done(out, "collect", config):
        return
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not a finished collection; name another folder or delete it")
    player = _player(config)
    with (
        atomic_path(folder) as aside,
        stage_run(aside, "collect", config) as fields,
        ThreadPoolExecutor(2) as pool,
        _progress(episodes) as bar,
    ):
        writers = {split: ShardWriter(aside, split, codec=codec, quality=quality) for split in counts}
        for number, (split, writer) in enumerate(writers.items()):
            with writer:
                for start in range(0, counts[split], player.parallel):
                    ids = [f"{split}-{i:06d}" for i in range(start, min(start + player.parallel, counts[split]))]
                    played = player.play(ids, [seed, number, start])
                    for episode, members in zip(played, pool.map(writer.encode, played), strict=True):
                        writer.write_encoded(episode, members)
                        bar.update()
        splits = {split: writer.summary() for split, writer in writers.items()}
        fields.update(
            kind="episodes",
            environment=environment,
            action_space=_described(player.action_space),
            frame_shape=[3, size, size],
            splits=splits,
            statistics=writers["train"].statistics(),
            data_hash=hash_shards(splits),
        )


def _player(config: dict[str, Any]) -> Player:
    environment, size, steps = config["environment"], config["size"], config["steps"]
    script = size, steps, min(PARALLEL, config["episodes"]), config["factors"], config["expert_fraction"]
    if environment == TWO_ROOMS:
        return TwoRoomsPlayer(*script, config["scenes"])
    if environment == PUSH_T:
        # Here, because it needs an extra.
        from jepa_wm.control.push_t_player import PushTPlayer

        return PushTPlayer(*script)
    return SinglePlayer(environment, size, steps, config["expert_fraction"])


def _described(space: gymnasium.Space[Any]) -> dict[str, Any]:
    """An action space as JSON values: planners need its bounds."""
    if isinstance(space, gymnasium.spaces.Box):
        # Unbounded is None: JSON knows no infinity.
        low, high = ([float(x) if np.isfinite(x) else None for x in side.ravel()] for side in (space.low, space.high))
        return {"type": "Box", "low": low, "high": high}
    return {"type": type(space).__name__, "width": gymnasium.spaces.flatdim(space)}


def _progress(episodes: int) -> Any:
    # Silent where nobody is watching: a log file would fill with bars.
    return tqdm(total=episodes, unit="episode", desc="collect", disable=None)


def _counts(episodes: int, held_out: float) -> dict[str, int]:
    if episodes < 3 or not 0 < held_out < 1:
        raise UserError(f"episodes is {episodes}, held_out {held_out}; expected at least 3, and between 0 and 1")
    half = min(max(1, round(episodes * held_out / 2)), (episodes - 1) // 2)
    return {"train": episodes - 2 * half, "val": half, "test": half}
