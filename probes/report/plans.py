"""What a run of `plan` left behind, read once and without judgement."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from probes.report.rows import Row, checked, read_rows

CONTROLS = {
    "expert": "scripted expert",
    "replay": "recorded actions",
    "random": "random",
    "noop": "no action",
    "cloned": "behaviour cloning, without a search",
}
"""What is no planner, by its name in the rows, and in words."""


@dataclass(frozen=True)
class Plans:
    """A run of `plan`.

    Attributes:
        folder: where it is.
        rows: of `results.jsonl`: goal, policy, success, ci95, episodes …
        searches: by the kind of goal, the trace of the first plan in `plan.json`.
        films: rows of `films/index.json`: file, goal, sentence, success.
    """

    folder: Path
    rows: list[Row]
    searches: dict[str, dict[str, Tensor]]
    films: list[Row]

    def policy(self, goal: str, policy: str) -> Row | None:
        """The row of a control towards one kind of goal."""
        found = [row for row in self.rows if (row["goal"], row["policy"]) == (goal, policy)]
        return found[-1] if found else None

    def planned(self, goal: str) -> Row | None:
        """The row of the planner: the policy that is no control."""
        found = [row for row in self.rows if row["goal"] == goal and row["policy"] not in CONTROLS]
        return found[-1] if found else None


def read_plans(folder: Path) -> Plans:
    """Read the folder of a run of `plan`, of whose files none has to be there.

    Raises:
        UserError: if one is malformed.
    """
    films = folder / "films" / "index.json"
    return Plans(
        folder=folder,
        rows=read_rows(folder / "results.jsonl", {"goal", "policy", "success"}),
        searches=_read_traces(folder / "plan.json"),
        films=checked(read_json(films), films, {"file", "goal", "success"}) if films.is_file() else [],
    )


def _read_traces(path: Path) -> dict[str, dict[str, Tensor]]:
    """Traces by the kind of goal, NaN where they hold None."""
    if not path.is_file():
        return {}
    try:
        return {
            goal: {name: torch.from_numpy(np.array(rows, np.float64)) for name, rows in trace.items()}
            for goal, trace in read_json(path).items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: expected tables of numbers ({error}); run its stage again") from None
