"""The verb: read the runs, write the page and the summary."""

from pathlib import Path

from jepa_wm.files import atomic_path, write_json
from jepa_wm.manifest import stage_run
from probes.report.inputs import read_runs
from probes.report.page import page
from probes.report.summary import summarise, summary_table


def report(runs: str) -> None:
    """Write `report.html`, a page that needs no other file, and `summary.json` about a folder of runs.

    Args:
        runs: folder with finished runs in it, in folders named `collect`, `pretrain`, `forecast`, `plan` and `probe`;
            of those that are not there it says so.

    Raises:
        UserError: if none of these is there and finished, or a results file in it is malformed.
    """
    folder = Path(runs)
    read = read_runs(folder)
    summary = summarise(read)
    with stage_run(folder / "report", "report", {"runs": runs}):
        text = page(read, summary)
        with atomic_path(folder / "report.html") as aside:
            aside.write_text(text, encoding="utf-8")
        write_json(folder / "summary.json", summary)
    print(f"{summary_table(summary)}\n\nreport: {folder / 'report.html'}")
