"""How a search went: the trace of a plan as a chart."""

from collections.abc import Mapping

from torch import Tensor

from probes.report.charts import BLUE, GREY, ORANGE, Line, Panel, small_multiples, standalone


def draw_search(trace: Mapping[str, Tensor]) -> str:
    """A self-contained SVG of a plan's trace over evaluations: cost, and what else it tells of a search: spread, by how
    much constraints were broken, and broken costs if there were any.

    Args:
        trace: of `Plan`; each line is the mean over its environments.
    """
    cost = [_line(trace, "cost", "best so far", BLUE)]
    if "elites" in trace:
        cost.append(_line(trace, "elites", "elites, mean", ORANGE))
    panels = [Panel("cost", cost)]
    panels += [Panel(name, [_line(trace, name, name, GREY)]) for name in ("spread", "violation") if name in trace]
    if trace["nan"].any():
        panels.append(Panel("costs that were no number", [_line(trace, "nan", "no number", GREY)]))
    return standalone(small_multiples(panels, "a search: cost and spread over evaluations", "evaluations"))


def _line(trace: Mapping[str, Tensor], name: str, label: str, colour: str) -> Line:
    means = trace[name].float().nanmean(dim=1).tolist()
    return Line(label, dict(zip(trace["evaluations"].int().tolist(), means, strict=True)), colour)
