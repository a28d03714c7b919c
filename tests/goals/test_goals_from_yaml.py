"""Goals and constraints as a config names them, read by the command line's own parser."""

from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from jepa_wm.checkpoint import build, spec
from jepa_wm.goals import Avoid, Constraint, Keep, Reward, Smoothness, State, Sum, Uncertainty
from jepa_wm.planning import CEM, AugmentedLagrangian
from jepa_wm.search import Search

DOCS = Path(__file__).parents[2] / "docs" / "goals.md"


def read(text: str) -> Search:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--search", type=Search)
    made: Search = parser.instantiate(parser.parse_object({"search": yaml.safe_load(text)})).search
    return made


def test_every_kind_is_read_and_told_again() -> None:
    search = read("""
terms:
  - {class_path: jepa_wm.goals.Smoothness, init_args: {weight: 0.1}}
  - {class_path: jepa_wm.goals.State, init_args: {target: [0.8, 0.2], weight: 2.0}}
  - {class_path: jepa_wm.goals.State, init_args: {target: [[0.8], [0.3]], columns: [1]}}
  - {class_path: jepa_wm.goals.Reward, init_args: {value: value}}
  - class_path: jepa_wm.goals.Sum
    init_args: {weight: 3.0, goals: [{class_path: jepa_wm.goals.Uncertainty}]}
constraints:
  - {class_path: jepa_wm.goals.Avoid, init_args: {low: [0.1], high: [.inf], columns: [1], margin: 0.05}}
  - {class_path: jepa_wm.goals.Keep, init_args: {low: [0.0, 0.0], high: [1.0, 1.0]}}
planner:
  class_path: jepa_wm.planning.AugmentedLagrangian
  init_args: {rounds: 2, planner: {class_path: jepa_wm.planning.CEM, init_args: {samples: 40}}}
""")
    assert list(search.terms) == [
        Smoothness(0.1),
        State([0.8, 0.2], weight=2.0),
        State([[0.8], [0.3]], columns=[1]),
        Reward(value="value"),
        Sum([Uncertainty()], weight=3.0),
    ]
    expected: list[Constraint] = [Avoid([0.1], [float("inf")], columns=[1], margin=0.05), Keep([0.0, 0.0], [1.0, 1.0])]
    assert list(search.constraints) == expected
    assert isinstance(search.planner, AugmentedLagrangian) and isinstance(search.planner.planner, CEM)
    assert search.planner.planner.samples == 40
    again = build(spec(search))
    assert list(again.terms) == list(search.terms) and list(again.constraints) == list(search.constraints)


def test_the_example_of_the_docs_is_read() -> None:
    text = DOCS.read_text().split("```yaml\n")[1].split("```")[0]
    search = read(yaml.dump(yaml.safe_load(text)["search"]))
    assert list(search.terms) == [Smoothness(0.05)]
    assert list(search.constraints) == [Avoid([0.24, 0.36], [0.36, 0.64], margin=0.05)]


def test_what_is_no_goal_is_refused() -> None:
    with pytest.raises(Exception, match=r"torch\.nn\.Linear"):
        read("terms: [{class_path: torch.nn.Linear, init_args: {in_features: 1, out_features: 1}}]")
