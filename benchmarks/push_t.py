"""How often scripted policies solve Push-T: `python -m benchmarks.push_t`.

Starts and goals are drawn at random, and none is solved at the start. A policy has solved its goal once pusher and
block are where the goal has them; beside it, how often the block alone was. Rewrites the section of
docs/benchmarks.md unless --episodes is given; the last line is JSON.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from benchmarks.tables import BENCHMARKS, machine, markdown, replace_section
from jepa_wm.envs.policies import NoOp, Policy, Uniform
from jepa_wm.envs.push_t import PushTVectorEnv
from jepa_wm.envs.push_t_policy import BlockWalk, Pusher
from jepa_wm.statistics import wilson

EPISODES = 100
STEPS = (100, 200, 300)


def solved_after(policy: Policy, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """After how many steps (E,) goal and block's goal were first met; infinity where they were not."""
    env = PushTVectorEnv(episodes, size=8, max_steps=STEPS[-1], autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    first = {"success": np.full(episodes, np.inf), "block_success": np.full(episodes, np.inf)}
    for step in range(1, STEPS[-1] + 1):
        *_, info = env.step(policy(env.state, env.goal, env.factor_values))
        for name, steps in first.items():
            steps[info[name]] = np.minimum(steps[info[name]], step)
    return first["success"], first["block_success"]


def row(policy: Policy, episodes: int) -> dict[str, Any]:
    """What one policy reached, as numbers."""
    start = time.perf_counter()
    whole, block = solved_after(policy, episodes)
    return {
        "success": {steps: float((whole <= steps).mean()) for steps in STEPS},
        "ci95": wilson(float((whole <= STEPS[-1]).sum()), episodes),
        "block_success": float((block <= STEPS[-1]).mean()),
        "milliseconds": 1000 * (time.perf_counter() - start) / (episodes * STEPS[-1]),
    }


def shown(figures: dict[str, Any]) -> dict[str, str]:
    """The same as a row of the table."""
    low, high = figures["ci95"]
    rates = {f"{steps} steps": f"{rate:.0%}" for steps, rate in figures["success"].items()}
    rates[f"{STEPS[-1]} steps"] += f" [{low:.0%}, {high:.0%}]"
    return rates | {
        f"block alone, {STEPS[-1]} steps": f"{figures['block_success']:.0%}",
        "ms a step": f"{figures['milliseconds']:.2f}",
    }


def main() -> None:
    """Play every policy, write the table and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, help=f"{EPISODES} by default; fewer to try it, which writes no section")
    given = parser.parse_args().episodes
    episodes = given or EPISODES
    policies: dict[str, Policy] = {
        "no-op": NoOp(),
        "uniform": Uniform(0),
        "walk about the block": BlockWalk(episodes, 0),
        **{f"pusher, noise {noise}": Pusher(noise, 0) for noise in (0.0, 0.1, 0.2, 0.4)},
    }
    results = {name: row(policy, episodes) for name, policy in policies.items()}
    table = markdown("policy", {name: shown(figures) for name, figures in results.items()})
    print(table)
    if given is None:
        replace_section(BENCHMARKS, "push_t", f"{table}\n\n{machine()}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
