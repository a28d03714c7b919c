"""Options of single terms change what they name and nothing else."""

from typing import Any

import pytest
import yaml

from jepa_wm.cli import main

TERMS = "--model.objectives.forecast.init_args.terms"
SHORT = "--model.objectives.forecast.terms"


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    with pytest.raises(SystemExit, match="0"):
        main(["forecast", "--config=dynamics/ensemble", "--source=given", "--print_config", *options])
    found: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return found


def leaves(part: Any, at: str = "") -> dict[str, Any]:
    if not isinstance(part, dict):
        return {at: part}
    return {name: value for key, each in part.items() for name, value in leaves(each, f"{at}.{key}").items()}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ([f"{TERMS}.sigreg.init_args.weight=0.1"], {"sigreg.init_args.weight": 0.1}),
        ([f"{TERMS}.sigreg.init_args.weight", "0.1"], {"sigreg.init_args.weight": 0.1}),
        (
            [f"{SHORT}.sigreg.slices=8", f"{TERMS}.actions.weight=0.3"],
            {"sigreg.init_args.slices": 8, "actions.init_args.weight": 0.3},
        ),
        ([f"{TERMS}.sigreg.weight=0.1", f"{TERMS}.sigreg.weight=0.2"], {"sigreg.init_args.weight": 0.2}),
    ],
)
def test_an_option_of_a_term_changes_that_alone(
    options: list[str], changed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = (leaves(printed(capsys, *given)) for given in ([], [*options, "--trainer.max_steps=7"]))
    start = ".model.objectives.forecast.init_args.terms."
    wanted = {start + name: value for name, value in changed.items()} | {".trainer.max_steps": 7}
    assert {name: after[name] for name in after if before.get(name) != after[name]} == wanted
    assert before.keys() == after.keys()


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("sigregg.weight=0.1", "there is no such term; forecast has sigreg, actions"),
        ("sigreg.wait=0.1", "Option 'wait' is not accepted"),
        ("sigreg.weight=ten", "Expected a float"),
    ],
)
def test_an_option_of_no_term_or_of_the_wrong_kind_is_refused(
    option: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forecast", "--config=dynamics/ensemble", "--source=given", f"{TERMS}.{option}"]) == 2
    assert why in capsys.readouterr().err
