"""Their search and ours, their model and ours, the same goals in their world: `python -m benchmarks.interop --out DIR`.

Needs the extra swm. stable-worldmodel's noisy expert records TwoRoom at 64 pixels, `shards pack` reads its file, and
`forecast` trains a small LeWM of ours on it; their own, of that size, learns from the same shards by its own objective,
for as many steps. Every policy plays the same held-out starts, to what was there 25 steps later, in `World.evaluate`
with a budget of 50 steps. What --out holds already is not made again. Rewrites a section of docs/results.md unless
--episodes is given; the last line is JSON.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables import RESULTS, machine, markdown, replace_section
from jepa_wm import WorldModel, load_world_model
from jepa_wm.cli import run_verb
from jepa_wm.data import EpisodeShards
from jepa_wm.interop.cost import SolverCost
from jepa_wm.interop.evaluate import RecordedEpisodes, WorldGoals, evaluate, scripted
from jepa_wm.interop.solver import PlannerSolver, expanded
from jepa_wm.interop.units import ActionUnits
from jepa_wm.interop.worlds import package
from jepa_wm.manifest import is_complete, read_manifest
from jepa_wm.planning import CEM

WORLD, SIZE, BLOCK = "swm/TwoRoom-v1", 64, 5
RECORDED, EPISODES = 500, 50
BATCH, FRAMES, RATE = 32, 4, 3e-4
SPAN = FRAMES * BLOCK
"""Steps of a clip: its frames, and what is done from the last of them, which their model wants too."""
SAMPLES, ELITES, ROUNDS, HORIZON = 64, 10, 5, 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def recorded(out: Path) -> Path:
    """Shards of what their expert did in their world."""
    file, shards = out / "two_room.h5", out / "shards"
    if not file.is_file():
        world = package().World(WORLD, num_envs=8, image_shape=(SIZE, SIZE), max_episode_steps=100)
        from stable_worldmodel.envs.two_room import ExpertPolicy

        world.set_policy(ExpertPolicy(action_noise=2.0, action_repeat_prob=0.05, seed=0))
        world.collect(out / "partial.h5", episodes=RECORDED, seed=0, format="hdf5")
        (out / "partial.h5").rename(file)
    if not is_complete(shards):
        source = ["--source=Hdf5", f"--source.path={file}", '--source.state=["state"]']
        run_verb("shards pack", [*source, f"--out={shards}", "--held_out=0.2"])
    return shards


def ours(out: Path, shards: Path, steps: int) -> WorldModel:
    """A small LeWM of this package, trained on the shards unless it is there."""
    config = ["--config=dynamics/lewm", f"--run={out / 'forecast'}", f"--data.folder={shards}"]
    run_verb("forecast", [*config, f"--trainer.max_steps={steps}"])
    return WorldModel.from_pretrained(out / "forecast")


def theirs(shards: Path, units: ActionUnits, steps: int) -> nn.Module:
    """Their LeWM, of the width and depth of ours, trained by its own objective on the same shards."""
    from stable_pretraining.backbone.utils import vit_hf
    from stable_worldmodel.wm.lewm import LeWM
    from stable_worldmodel.wm.lewm.module import MLP, Embedder, Predictor
    from stable_worldmodel.wm.loss import SIGReg

    from benchmarks.peers.swm_lewm import loss

    torch.manual_seed(0)
    encoder = vit_hf(
        size="tiny", patch_size=16, image_size=SIZE, pretrained=False, use_mask_token=False, num_hidden_layers=4
    )
    predictor = Predictor(num_frames=3, depth=4, heads=4, dim_head=24, mlp_dim=512, input_dim=96, hidden_dim=96)
    projections = (MLP(192, 512, 96, norm_fn=nn.BatchNorm1d), MLP(96, 512, 96, norm_fn=nn.BatchNorm1d))
    model = LeWM(encoder, predictor, Embedder(input_dim=2 * BLOCK, emb_dim=96), *projections)
    optimizer, gaussianity = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-3), SIGReg()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    for pixels, actions in clips(shards, units, steps):
        error = loss(model, gaussianity, normalised(pixels), actions)
        error.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    trained: nn.Module = model.eval()
    return trained


def clips(shards: Path, units: ActionUnits, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """So many batches: frames uint8 (B, T, C, H, W), and in a solver's numbers the actions from each (B, T, A)."""
    found, random = EpisodeShards(shards, "train"), np.random.default_rng(0)
    episodes = [episode for episode in map(found.__getitem__, range(len(found))) if len(episode.actions) >= SPAN]
    for _ in range(count):
        pixels, actions = [], []
        for number in random.integers(len(episodes), size=BATCH):
            frames, done = episodes[number].frames, units.transform(episodes[number].actions)
            first = random.integers(len(done) - SPAN + 1)
            pixels.append(torch.as_tensor(frames[first : first + SPAN : BLOCK]))
            actions.append(torch.from_numpy(done[first : first + SPAN].reshape(FRAMES, -1)))
        yield torch.stack(pixels), torch.stack(actions)


def normalised(picture: Any) -> Tensor:
    """Pictures uint8 (…, C, H, W) as their models want them."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    return (torch.as_tensor(picture) / 255 - mean) / std


@torch.no_grad()
def difference(model: nn.Module, loaded: WorldModel, units: ActionUnits) -> float:
    """The largest relative difference between what their LeWM costs in their hands and in ours."""
    draw = torch.Generator().manual_seed(0)
    shape = 4, 1, 3, SIZE, SIZE
    raw = {name: torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw) for name in ("pixels", "goal")}
    candidates = torch.rand(4, 32, HORIZON, 2 * BLOCK, generator=draw) * 2 - 1
    shown = {name: value.movedim(2, -1) for name, value in raw.items()}
    own = SolverCost(loaded, units).get_cost(expanded(shown, 32), candidates) * 96
    asked = {name: torch.stack([normalised(each[0])[None] for each in value]) for name, value in raw.items()}
    asked["action"] = torch.zeros(4, 1, 2)
    # One environment at a time: of several it takes one another's goals, or stops.
    ones = [expanded({name: value[i : i + 1] for name, value in asked.items()}, 32) for i in range(4)]
    official = torch.cat([model.get_cost(one, candidates[i : i + 1]) for i, one in enumerate(ones)])  # type: ignore[operator]
    return float(((own - official).abs() / official).max())


def rows(out: Path, episodes: int, steps: int) -> tuple[dict[str, dict[str, Any]], float]:
    """Success of every policy, and the difference between their LeWM and the same in ours."""
    shards = recorded(out)
    statistics = read_manifest(shards, "pack")["statistics"]
    units = ActionUnits(statistics["action_mean"], statistics["action_std"], [-1.0, -1.0], [1.0, 1.0])
    goals = WorldGoals.draw(RecordedEpisodes(EpisodeShards(shards, "test"), WORLD), episodes)
    model, lewm = ours(out, shards, steps), theirs(shards, units, steps)
    torch.save(lewm.state_dict(), out / "weights.pt")
    told = {name: statistics[name] for name in ("action_mean", "action_std")}
    told["action_bounds"] = ([-1.0, -1.0], [1.0, 1.0])
    loaded = load_world_model(out / "weights.pt", action_dim=2, heads=4, size=SIZE, statistics=told)
    swm = package()
    config = swm.PlanConfig(horizon=HORIZON, receding_horizon=HORIZON, action_block=BLOCK)
    floats = {"pixels": normalised, "goal": normalised}

    def played(model: Any, own_search: bool, transform: dict[str, Any] | None = None) -> dict[str, Any]:
        search = CEM(SAMPLES, ELITES, ROUNDS, momentum=0.0)
        batch = 1 if model is lewm else episodes
        same = {"num_samples": SAMPLES, "topk": ELITES, "n_steps": ROUNDS, "batch_size": batch}
        own = PlannerSolver(model, search, units, batch=batch)
        solver = own if own_search else swm.solver.CEMSolver(model=model, **same)
        began = time.perf_counter()
        policy = swm.policy.WorldModelPolicy(solver, config, process={"action": units}, transform=transform)
        return evaluate(policy, goals) | {"seconds": time.perf_counter() - began}

    found = {name: evaluate(policy, goals) | {"seconds": 0.0} for name, policy in scripted(goals).items()}
    found["their CEM, our model"] = played(SolverCost(model, units), False)
    found["our CEM, our model"] = played(SolverCost(model, units), True)
    found["their CEM, their LeWM"] = played(lewm, False, floats)
    found["our CEM, their LeWM"] = played(lewm, True, floats)
    found["our CEM, their LeWM read by load_world_model"] = played(SolverCost(loaded, units), True)
    return found, difference(lewm, loaded, units)


def shown(figures: dict[str, Any]) -> dict[str, str]:
    """The same as a row of the table."""
    low, high = figures["ci95"]
    return {
        "success": f"{figures['success']:.0%} [{low:.0%}, {high:.0%}]",
        "seconds": f"{figures['seconds']:.0f}" if figures["seconds"] else "",
    }


def main() -> None:
    """Play every pair, write the table and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/interop", help="where recordings and models are kept")
    parser.add_argument("--episodes", type=int, help=f"{EPISODES} by default; fewer to try it, which writes no section")
    parser.add_argument("--steps", type=int, default=600, help="of training, of both models")
    given = parser.parse_args()
    out = Path(given.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    # Its World asks for a cache folder.
    os.environ.setdefault("STABLEWM_HOME", str(out / "cache"))
    found, apart = rows(out, given.episodes or EPISODES, given.steps)
    excluded = found["noop"]["excluded"]
    told = (
        f"{WORLD}, {given.episodes or EPISODES} held-out starts, goals 25 steps ahead, budget 50; {excluded} more were "
        f"solved already and left out. Our model: {given.steps} steps of `dynamics/lewm`; their LeWM: as many of "
        f"its own objective, OneCycle to {RATE}. In their hands and read by `load_world_model`, on "
        f"the same candidates: costs differ by {apart:.1e} of themselves at most."
    )
    table = markdown("policy", {name: shown(figures) for name, figures in found.items()})
    print(table, told, sep="\n\n")
    if given.episodes is None:
        replace_section(RESULTS, "interop", f"{table}\n\n{told}\n\n{machine()}")
    print(json.dumps({"rows": found, "lewm_cost_difference": apart}))


if __name__ == "__main__":
    main()
