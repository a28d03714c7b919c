"""One page and one JSON file about a folder of runs."""

from probes.report.summary import summary_table
from probes.report.write import report

__all__ = ["report", "summary_table"]
