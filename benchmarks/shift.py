"""How a planner fares where the world looks or behaves otherwise: `python -m benchmarks.shift`.

    python -m benchmarks.shift --model runs/demo/forecast --data runs/demo/collect --out runs/shift

The same goals are played as the shards' world has them, and with one factor of variation after another changed to
values that are held out from training. Differences are of the goals that can be in both worlds: a wider disc does not
fit where a narrow one did. Rewrites a section of docs/results.md unless --dry is given; what is there of a run is not
done again.
The last line is JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.success import TOPS
from benchmarks.tables import RESULTS, machine, markdown, replace_section
from benchmarks.verbs import verb
from jepa_wm.control.compare import difference
from jepa_wm.control.results import read_episodes
from jepa_wm.manifest import read_manifest
from jepa_wm.statistics import holm

PLAIN = "as trained"
RANDOM, TOP = "random", "expert or replay"


def played(out: Path, factor: str, arguments: list[str]) -> dict[str, dict[str, Any]]:
    """What came of a run of `plan` with one factor held out, or none."""
    folder = out / factor.replace(" ", "_")
    changed = [] if factor == PLAIN else [f"--task.factors={json.dumps({factor: 'held_out'})}"]
    verb("plan", *arguments, "--films=0", f"--out={folder}", *changed)
    return read(folder)


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """The image goals of a run of `plan`: floor, ceiling and planner, episodes by name."""
    found: dict[str, dict[str, Any]] = {}
    for row in read_episodes(str(folder)):
        if row["goal"] == "image":
            found.setdefault(row["policy"], {})[row["episode"]] = row
    top = next(rows for name, rows in found.items() if name in TOPS)
    return {RANDOM: found[RANDOM], TOP: top, "planner": list(found.values())[-1]}


def figures(plain: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """What changing a factor did, over all of its episodes, and over the pairs that both worlds have."""
    rates = {name: sum(row["success"] for row in rows.values()) / len(rows) for name, rows in changed.items()}
    last = [row["success_last"] for row in changed["planner"].values()]
    shared = [name for name in plain["planner"] if name in changed["planner"]]
    return {
        "success": rates["planner"],
        "last": None if None in last else sum(last) / len(last),
        **{name: rates[name] for name in (RANDOM, TOP)},
        "episodes": len(changed["planner"]),
        "pairs": len(shared),
        **difference([plain["planner"][name] for name in shared], [changed["planner"][name] for name in shared]),
    }


def shown(row: dict[str, Any]) -> dict[str, str]:
    """The figures of a factor as a row of the table."""
    low, high = row["difference_ci95"]
    return {
        "success": f"{row['success']:.1%} of {row['episodes']}",
        "at the last step": "" if row["last"] is None else f"{row['last']:.1%}",
        **{name: f"{row[name]:.1%}" for name in (RANDOM, TOP)},
        "difference": f"{row['difference']:+.1%} [{low:+.1%}, {high:+.1%}] of {row['pairs']}",
        "p, Holm": f"{row['p_holm']:.2g}" if "p_holm" in row else "",
    }


def main() -> None:
    """Play, compare, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/demo/forecast")
    parser.add_argument("--data", default="runs/demo/collect")
    parser.add_argument("--out", default="runs/shift", type=Path)
    parser.add_argument("--config", default="two_rooms/plan", help="how to plan")
    parser.add_argument("--episodes", default=100, type=int)
    parser.add_argument("--factors", nargs="*", help="all of the world's by default")
    parser.add_argument("--dry", action="store_true", help="write no section")
    given = parser.parse_args()
    arguments = [f"--config={given.config}", f"--model={given.model}", f"--data={given.data}"]
    arguments += [f"--episodes={given.episodes}", "--text_episodes=0"]
    plain = played(given.out, PLAIN, arguments)
    goals = json.loads((given.out / PLAIN.replace(" ", "_") / "goals-image.json").read_text())
    results = {
        factor: figures(plain, played(given.out, factor, arguments)) for factor in given.factors or goals["factors"]
    }
    for row, p in zip(results.values(), holm([row["p"] for row in results.values()]), strict=True):
        row["p_holm"] = p
    table = markdown("held out", {PLAIN: shown(figures(plain, plain)), **{k: shown(v) for k, v in results.items()}})
    print(table)
    if not given.dry:
        varied = read_manifest(given.data, "collect")["config"]["factors"] or "none"
        replace_section(RESULTS, "shift", f"{table}\n\nFactors that varied in training: {varied}. {machine()}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
