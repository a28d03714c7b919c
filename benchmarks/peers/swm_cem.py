"""A CEM plan of stable-worldmodel with its LeWM, in its own Python; knows nothing of this package.

swm_cem.py FOLDER      writes its random weights there, as its `save_pretrained` names them; then, on each line of its
input, a seed: the seconds of a plan from that seed's start to its goal, and the plan itself, on its output
"""

import json
import sys
import time
from pathlib import Path

import gymnasium
import torch
from stable_worldmodel.policy import PlanConfig
from swm_lewm import BLOCK, HORIZON, SIZE, LeWM, model

try:
    from stable_worldmodel.solver import CEMSolver
except ImportError:  # its repository's main branch
    from stable_worldmodel.planning.solver import CEMSolver

SAMPLES, ITERATIONS, ELITES, STEPS = 300, 30, 30, 5
MEAN, STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def lively() -> LeWM:
    """Random weights in which actions matter: at first its blocks do nothing, whatever the action."""
    torch.manual_seed(0)
    made = model().eval()
    for name, parameter in made.named_parameters():
        if "adaLN_modulation.1" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def picture(seed: int) -> torch.Tensor:
    """A picture (1, 1, C, H, W) of noise, as the model wants it; the same on both sides."""
    pixels = torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    scaled = (pixels / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return scaled[None, None]


def main(folder: Path) -> None:
    """Serve."""
    torch.set_num_threads(2)
    made = lively()
    torch.save(made.state_dict(), folder / "weights.pt")
    (folder / "config.json").write_text(json.dumps({"predictor": {"heads": 16}}))
    print("=ready", flush=True)
    space = gymnasium.spaces.Box(-1.0, 1.0, (1, BLOCK // STEPS))
    for line in sys.stdin:
        seed = int(line)
        solver = CEMSolver(made, 1, SAMPLES, 1.0, ITERATIONS, ELITES, seed=seed)
        solver.configure(action_space=space, n_envs=1, config=PlanConfig(HORIZON, HORIZON, action_block=STEPS))
        seen = {"pixels": picture(2 * seed), "goal": picture(2 * seed + 1), "action": torch.zeros(1, 1, BLOCK)}
        start = time.perf_counter()
        actions = solver.solve(seen)["actions"]
        print("=" + json.dumps([time.perf_counter() - start, actions[0].tolist()]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
