"""How far every family of world models strays in twenty steps: `python -m benchmarks.drift`.

In two worlds, the two rooms and Push-T: episodes are collected once, an encoder is pretrained on them for each seed,
and each config of `configs/dynamics/` is trained for each seed, those that want one on that encoder. Then held-out
episodes are imagined from three frames and their recorded actions, or another episode's, 20 blocks of five steps.
Errors are in parts of the variance of the latents, since each model has latents of its own, and a ridge regression
reads positions off the imagined latents, which compares them all. Writes a section of docs/results.md, docs/drift.svg,
and docs/drift.json, where the figures of each family stay with the machine that they are from until it is measured
again; what is there of a run is not done again.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.drift_told import panels, section, told
from benchmarks.tables import RESULTS, ROOT, machine, replace_section
from benchmarks.verbs import verb
from jepa_wm.data import EpisodeShards
from jepa_wm.encoders import StateToken
from jepa_wm.files import atomic_path, read_json, write_json
from jepa_wm.paths import config_root
from jepa_wm.world_model import WorldModel
from probes.drift import encode, in_variances, noisy, read_film, stray
from probes.features import draw_rows
from probes.imagine import position_reader
from probes.report.charts import small_multiples, standalone

WORLDS = {"two_rooms": ["agent_color", "agent_size", "door_position"], "push_t": ["agent_color", "block_color"]}
"""The factors that vary where any do, by world."""
KINDS = {"plain": ("default", 2000, 0.1), "varied": ("sample", 2000, 0.1), "shifted": ("held_out", 210, 0.97)}
"""Which values factors have, how many episodes, and the share that is not for training, by kind of episodes."""
MOVING = {"two_rooms": {"disc": slice(0, 2)}, "push_t": {"pusher": slice(0, 2), "block": slice(2, 4)}}
"""What moves, and where the state says where it is."""
STATES = {"two_rooms": (2, 0.03), "push_t": (8, 0.06)}
"""Numbers of a state, and how far an action of 1 moves the first two, for the family that is told them."""
EPISODES, STEPS, SEEN, HORIZON, SKIP = 100, 115, 3, 20, 5
FRAMES = 4000
"""Frames that positions are learned to be read from."""
KEPT = ROOT / "docs" / "drift.json"
FAR = {
    "prefix": (
        f"--data.frames={SEEN + HORIZON}",
        "--data.batch_size=12",
        f"--model.objectives.forecast.init_args.dynamics.init_args.transformer.init_args.window={SEEN + HORIZON - 1}",
    ),
    "ensemble": (f"--calibration_frames={1 + HORIZON}",),
}
"""What families need to look as far ahead: longer clips, fewer of them in a batch, and a wider window, where all is
imagined at once; the errors of as many steps, where errors are expected."""


def collect(out: Path, world: str, kind: str) -> Path:
    """The shards of a kind of episodes, collected unless they are there."""
    shards = out / world / kind / "shards"
    values, episodes, held_out = KINDS[kind]
    factors = ", ".join(f"{name}: {values}" for name in WORLDS[world])
    counts = [f"--episodes={episodes}", f"--steps={STEPS}", f"--held_out={held_out}"]
    verb("collect", f"--config={world}/collect", f"--out={shards}", *counts, f"--factors={{{factors}}}")
    return shards


def train(out: Path, world: str, kind: str, family: str, seed: int) -> Path:
    """The run folder of a family's model, trained unless it is there, and its encoder's before it."""
    shards = collect(out, world, kind)
    seeds = [f"--data.folder={shards}", f"--seed_everything={seed}", f"--data.seed={seed}"]
    pretrained, run = out / world / kind / f"pretrain-{seed}", out / world / kind / f"{family}-{seed}"
    verb("pretrain", "--config=two_rooms/pretrain", f"--run={pretrained}", *seeds)
    config = config_root() / "dynamics" / f"{family}.yaml"
    given, (numbers, reach) = config.read_text(), STATES[world]
    source = [f"--source={pretrained}"] if "\nsource:" in given else []
    made = "--model.objectives.forecast.init_args"
    told = [f"{made}.frames.init_args.state_dim={numbers}", f"{made}.dynamics.init_args.reach={reach}"]
    own = [*(told if "state_dim" in given else []), *FAR.get(family, ())]
    verb("forecast", f"--config={config}", f"--run={run}", *source, *seeds, *own)
    return run


def measured(run: Path, world: str) -> dict[str, np.ndarray]:
    """Errors (E, K) in held-out episodes by name; what was measured before is read."""
    file = run / "drift.npz"
    if not file.is_file():
        found = measure(WorldModel.from_pretrained(run), run.parent / "shards", world)
        with atomic_path(file) as aside, aside.open("wb") as stream:
            arrays: dict[str, Any] = {name: value.numpy() for name, value in found.items()}
            np.savez(stream, **arrays)
    with np.load(file) as stored:
        return dict(stored)


@torch.no_grad()
def measure(model: WorldModel, shards: Path, world: str) -> dict[str, Tensor]:
    """Errors (E, K): of the latents, and of the places that are read off them, in sides of the world."""
    film = read_film(EpisodeShards(str(shards), "test"), SKIP, SEEN + HORIZON, EPISODES)
    found, others = (
        stray(model, film._replace(actions=actions), SEEN) for actions in (film.actions, film.actions.roll(1, dims=0))
    )
    every = {"imagined": found.imagined, "still": found.still, "others": others.imagined, "real": found.real}
    every |= {"noisy": noisy(model, film)[:, SEEN:]}
    latents = {name: seen(model, z) for name, z in every.items()}
    errors = {name: in_variances(latents[name], latents["real"]) for name in ("imagined", "still", "others", "noisy")}
    known = [
        (seen(model, encode(model, rows.pixels, rows.state)).flatten(1), rows.state)
        for split, share in (("train", 1.0), ("val", 0.1))
        for rows in [draw_rows(EpisodeShards(str(shards), split), round(share * FRAMES), np.random.default_rng(0))]
    ]
    read, state = position_reader(known[0], known[1]), film.state[:, SEEN:]
    for thing, place in MOVING[world].items():
        for name in ("imagined", "still", "others", "real"):
            errors[f"{thing} {name}"] = (read(latents[name].flatten(2)) - state)[..., place].norm(dim=-1)
    return errors


def seen(model: WorldModel, latents: Tensor) -> Tensor:
    """Latents (..., N, D) without the token that holds the state itself, if there is one: it is told, not seen."""
    return latents[..., :-1, :] if isinstance(model.frames, StateToken) else latents


def main() -> None:
    """Collect, train, imagine, write."""
    families = sorted(path.stem for path in (config_root() / "dynamics").glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/drift"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--families", nargs="+", default=families, choices=families)
    parser.add_argument("--train_only", action="store_true", help="leave the documents as they are")
    arguments = parser.parse_args()
    kept = read_json(KEPT)
    for world in arguments.worlds:
        found: dict[str, list[dict[str, np.ndarray]]] = {family: [] for family in arguments.families}
        for seed in arguments.seeds:
            for family in arguments.families:
                found[family].append(measured(train(arguments.out, world, "plain", family, seed), world))
                print(world, family, seed, found[family][-1]["imagined"].mean(axis=0).round(3).tolist(), flush=True)
        on = f"{len(arguments.seeds)} seeds, {machine()}"
        for family, each in found.items():
            errors = {name: np.stack([one[name] for one in each]) for name in each[0]}
            kept[world] = dict(sorted((kept.get(world, {}) | {family: told(errors, [*MOVING[world]], on)}).items()))
    if arguments.train_only:
        return
    write_json(KEPT, kept)
    picture = small_multiples(panels(kept), "drift over imagined steps", "imagined blocks of five steps")
    with atomic_path(ROOT / "docs" / "drift.svg") as aside:
        aside.write_text(standalone(picture))
    replace_section(RESULTS, "drift", section(kept))


if __name__ == "__main__":
    main()
