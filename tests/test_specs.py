"""Every module that can be made without arguments can be rebuilt from the configuration read off it."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
from torch import nn

import jepa_wm
from jepa_wm.checkpoint import MODELS, build, spec
from jepa_wm.contracts import Objective

ROOT = Path(inspect.getfile(jepa_wm)).parent
MODULES = [
    cls
    for folder in ("encoders", "dynamics", "dynamics.heads", "losses", "objectives.terms")
    for path in sorted((ROOT / folder.replace(".", "/")).glob("*.py"))
    for cls in vars(import_module(f"jepa_wm.{folder}.{path.stem}")).values()
    if inspect.isclass(cls)
    and issubclass(cls, nn.Module)
    and cls.__module__ == f"jepa_wm.{folder}.{path.stem}"
    and not cls.__name__.startswith("_")
    and cls.__init__ is not nn.Module.__init__
]
PLAIN = [
    cls
    for cls in MODULES
    if all(
        parameter.default is not parameter.empty
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if name != "self"
    )
]
OBJECTIVES = [
    cls
    for path in sorted((ROOT / "objectives").glob("*.py"))
    for cls in vars(import_module(f"jepa_wm.objectives.{path.stem}")).values()
    if inspect.isclass(cls) and issubclass(cls, Objective) and cls.__module__ == f"jepa_wm.objectives.{path.stem}"
]


@pytest.mark.parametrize("cls", PLAIN, ids=lambda cls: cls.__name__)
def test_a_module_is_rebuilt_from_its_configuration(cls: type[nn.Module]) -> None:
    made = cls()
    again = build(spec(made), within=(*MODELS, "jepa_wm.objectives"))
    assert type(again) is cls and spec(again) == spec(made)
    again.load_state_dict(made.state_dict())


@pytest.mark.parametrize("cls", MODULES, ids=lambda cls: cls.__name__)
def test_constructors_name_their_arguments_and_nothing_is_swallowed(cls: type[nn.Module]) -> None:
    kinds = {parameter.kind for parameter in inspect.signature(cls.__init__).parameters.values()}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}


@pytest.mark.parametrize("cls", OBJECTIVES, ids=lambda cls: cls.__name__)
def test_an_objective_is_built_on_an_encoder_exports_parts_and_names_its_source(cls: type[Objective]) -> None:
    first = list(inspect.signature(cls.__init__).parameters)[1]
    assert first == "encoder"
    assert cls.forward is not Objective.forward and cls.exported is not Objective.exported
    assert "Source:" in (cls.__doc__ or "")
