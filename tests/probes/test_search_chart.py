"""The chart of a search, read back."""

import re
import xml.etree.ElementTree as ET

import torch

from jepa_wm.planning import CEM, Amortised, AugmentedLagrangian
from jepa_wm.planning.costs import rejected
from probes.report.search import draw_search

SVG = "{http://www.w3.org/2000/svg}"


def heights(picture: ET.Element, colour: str) -> list[float]:
    """Heights of the points of the first line of a colour, downwards."""
    paths = (path for path in picture.iter(f"{SVG}path") if f"stroke: {colour}" in path.get("style", ""))
    path = next(path.get("d", "") for path in paths if path.get("d", "").count("L") > 1)
    return [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]


def trace_of(wrong: float) -> dict[str, torch.Tensor]:
    def cost(candidates: torch.Tensor) -> torch.Tensor:
        costs = (candidates - 0.3).square().sum(dim=(2, 3))
        return costs.where(candidates[:, :, 0, 0] < wrong, torch.nan)

    mean, bound = torch.zeros(3, 4, 2), torch.ones(2)
    generator = torch.Generator().manual_seed(0)
    return CEM(64, 8, 20).plan(cost, mean, torch.ones_like(mean), -bound, bound, generator).trace


def test_the_lines_are_the_traces() -> None:
    trace = trace_of(9.0)
    picture = ET.fromstring(draw_search(trace))
    for name, colour in (("cost", "#2f6db5"), ("spread", "#8a94a0")):
        means = trace[name].mean(dim=1)
        drawn = -torch.tensor(heights(picture, colour))
        assert len(drawn) == 20
        share = (drawn - drawn.min()) / (drawn.max() - drawn.min())
        torch.testing.assert_close(share, (means - means.min()) / (means.max() - means.min()), rtol=0, atol=1e-3)


class Constrained:
    """The distance to 0.3, which is forbidden beyond 0.2."""

    def __call__(self, candidates: torch.Tensor) -> torch.Tensor:
        return rejected(*self.parts(candidates))

    def parts(self, candidates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (candidates - 0.3).square().sum(dim=(2, 3)), (candidates - 0.2).clamp(min=0).sum(dim=(2, 3))


def test_what_a_planner_does_not_tell_is_left_out() -> None:
    mean, bound = torch.zeros(3, 4, 2), torch.ones(2)
    cost = Constrained()
    pictures = [
        draw_search(planner.plan(told, mean, torch.ones_like(mean), -bound, bound, torch.Generator()).trace)
        for planner, told in (
            (Amortised(), lambda tried: cost.parts(tried)[0]),
            (AugmentedLagrangian(CEM(16, 4, 2)), cost),
        )
    ]
    assert ">spread<" in pictures[0] and ">violation<" not in pictures[0]
    assert ">spread<" in pictures[1] and ">violation<" in pictures[1]


def test_broken_costs_are_shown_where_there_are_any() -> None:
    assert "no number" not in draw_search(trace_of(9.0))
    assert "costs that were no number" in draw_search(trace_of(0.5))
