"""The verb: read the runs, write the page and the summary."""

from pathlib import Path

from jepa_wm.files import atomic_path, write_json
from jepa_wm.manifest import stage_run
from probes.report.inputs import read_runs
from probes.report.one_plan import is_plan, plan_page
from probes.report.page import page
from probes.report.summary import summarise, summary_table


def report(runs: str) -> None:
    """Write `report.html`, a page that needs no other file, and `summary.json` about a folder of runs; about a single
    run of `plan` the page alone.

    Args:
        runs: folder with finished runs in it, in folders named `collect`, `pretrain`, `forecast`, `plan` and `probe`;
            of those that are not there it says so. Or the folder of a run of `plan`, of `plan --goal` too.

    Raises:
        UserError: if none of these is there and finished, or a results file in it is malformed.
    """
    folder = Path(runs)
    if is_plan(folder):
        _write(folder, plan_page(folder))
        return
    read = read_runs(folder)
    summary = summarise(read)
    with stage_run(folder / "report", "report", {"runs": runs}):
        text = page(read, summary)
        write_json(folder / "summary.json", summary)
        print(f"{summary_table(summary)}\n")
        _write(folder, text)


def _write(folder: Path, text: str) -> None:
    with atomic_path(folder / "report.html") as aside:
        aside.write_text(text, encoding="utf-8")
    print(f"report: {folder / 'report.html'}")
