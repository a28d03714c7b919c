"""How many frames a second the vector environment steps and paints: `python -m benchmarks.envs`.

A random walk over every factor of variation, sampled; medians of five runs. Rewrites the section of
docs/benchmarks.md; the last line is JSON.
"""

import json
import statistics
import time

import gymnasium
from gymnasium.vector import AutoresetMode

from benchmarks.tables import BENCHMARKS, machine, markdown, replace_section
from jepa_wm.envs import TWO_ROOMS
from jepa_wm.envs.factors import FACTORS
from jepa_wm.envs.policies import RandomWalk

REPEATS = 5


def frames_per_second(size: int, num_envs: int, steps: int) -> float:
    """Frames stepped and painted a second at `size` px: the median of five runs of `steps` steps each."""
    factors = dict.fromkeys(FACTORS, "sample")
    env = gymnasium.make_vec(
        TWO_ROOMS, num_envs=num_envs, size=size, factors=factors, autoreset_mode=AutoresetMode.DISABLED
    )
    observation, info = env.reset(seed=0)
    policy = RandomWalk(num_envs, seed=0)
    walk = []
    for _ in range(steps):
        walk.append(policy(observation["state"], info["goal"], info["factors"]))
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for actions in walk:
            env.step(actions)
        rates.append(num_envs * steps / (time.perf_counter() - start))
    return statistics.median(rates)


def main() -> None:
    """Measure each size, write the table and print it as JSON."""
    results, rows = {}, {}
    for size, num_envs, steps, asked in ((64, 256, 40, 20_000), (224, 64, 20, 2_500)):
        rate = frames_per_second(size, num_envs, steps)
        results[f"frames_per_second_{size}px"] = round(rate)
        rows[f"{size} px, {num_envs} environments"] = {"frames/s": f"{rate:,.0f}", "asked": f"{asked:,}"}
    replace_section(BENCHMARKS, "envs", f"{markdown('size', rows)}\n\n{machine()}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
