"""A CEM plan of stable-worldmodel with its LeWM, in its own Python; knows nothing of this package.

swm_cem.py FOLDER STEPS      learns the clips that it finds there and writes its weights beside them, as its
`save_pretrained` names them; then, on each line of its input, the number of a goal of that folder: the seconds of a
plan to it, and the plan itself, on its output
"""

import json
import sys
import time
from pathlib import Path

import gymnasium
import torch
from stable_worldmodel.policy import PlanConfig
from swm_lewm import BATCH, BLOCK, HORIZON, LeWM, SIGReg, loss, model

try:
    from stable_worldmodel.solver import CEMSolver
except ImportError:  # its repository's main branch
    from stable_worldmodel.planning.solver import CEMSolver

SAMPLES, ITERATIONS, ELITES, STEPS = 300, 30, 30, 5
RATE = 3e-4
MEAN, STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures as the model wants them."""
    return (pixels / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def learned(clips: dict[str, torch.Tensor], steps: int) -> LeWM:
    """Its LeWM, trained from nothing on the clips."""
    torch.manual_seed(0)
    made, gaussianity, drawn = model(), SIGReg(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(made.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    for _ in range(steps):
        batch = torch.randint(len(clips["pixels"]), (BATCH,), generator=drawn)
        # It wants an action behind the last frame, too, and does not read it.
        actions = torch.nn.functional.pad(clips["actions"][batch], (0, 0, 0, 1))
        with torch.autocast("cpu", torch.bfloat16):
            found = loss(made, gaussianity, scaled(clips["pixels"][batch]), actions)
        found.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return made.eval()


def main(folder: Path, steps: int) -> None:
    """Serve."""
    torch.set_num_threads(2)
    made = learned(torch.load(folder / "clips.pt"), steps)
    torch.save(made.state_dict(), folder / "weights.pt")
    (folder / "config.json").write_text(json.dumps({"predictor": {"heads": 16}}))
    goals = {name: scaled(pictures)[:, None, None] for name, pictures in torch.load(folder / "goals.pt").items()}
    print("=ready", flush=True)
    space = gymnasium.spaces.Box(-1.0, 1.0, (1, BLOCK // STEPS))
    for line in sys.stdin:
        number = int(line)
        solver = CEMSolver(made, 1, SAMPLES, 1.0, ITERATIONS, ELITES, seed=number)
        solver.configure(action_space=space, n_envs=1, config=PlanConfig(HORIZON, HORIZON, action_block=STEPS))
        seen = {"pixels": goals["seen"][number], "goal": goals["goal"][number], "action": torch.zeros(1, 1, BLOCK)}
        start = time.perf_counter()
        actions = solver.solve(seen)["actions"]
        print("=" + json.dumps([time.perf_counter() - start, actions[0].tolist()]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
