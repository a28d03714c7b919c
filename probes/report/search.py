"""How searches went: the trace of a plan as a chart."""

from collections.abc import Mapping

from torch import Tensor

from probes.report.charts import BLUE, GREY, ORANGE, Line, Panel, small_multiples, standalone
from probes.report.html import Markup, element, missing, note, section
from probes.report.plans import Plans


def searches(plans: Plans) -> Markup:
    """The first search towards each kind of goal."""
    figures = [
        element(
            "figure", _chart(trace, f"the first search towards {goal} goals"), element("figcaption", f"{goal} goals")
        )
        for goal, trace in plans.searches.items()
        if trace
    ]
    text = (
        "The first search towards goals of each kind, the mean over episodes. A spread that is still large at the end "
        "asks for more rounds; elites that cost far more than the best, for more samples."
    )
    return section("Searches", *figures, note(text) if figures else missing(f"{plans.folder.name}/plan.json"))


def draw_search(trace: Mapping[str, Tensor]) -> str:
    """A self-contained SVG of a plan's trace over evaluations: cost, and what else it tells of a search: spread, by how
    much constraints were broken, and broken costs if there were any.

    Args:
        trace: of `Plan`; each line is the mean over its environments.
    """
    return standalone(_chart(trace, "a search: cost and spread over evaluations"))


def _chart(trace: Mapping[str, Tensor], label: str) -> Markup:
    cost = [_line(trace, "cost", "best so far", BLUE)]
    if "elites" in trace:
        cost.append(_line(trace, "elites", "elites, mean", ORANGE))
    panels = [Panel("cost", cost)]
    panels += [Panel(name, [_line(trace, name, name, GREY)]) for name in ("spread", "violation") if name in trace]
    if trace["nan"].any():
        panels.append(Panel("costs that were no number", [_line(trace, "nan", "no number", GREY)]))
    return small_multiples(panels, label, "evaluations")


def _line(trace: Mapping[str, Tensor], name: str, label: str, colour: str) -> Line:
    means = trace[name].float().nanmean(dim=1).tolist()
    return Line(label, dict(zip(trace["evaluations"].int().tolist(), means, strict=True)), colour)
