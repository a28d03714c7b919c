"""A source for each importer; the module of the sources is loaded by its path, since tests are no package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SPEC = importlib.util.spec_from_file_location("importer_sources", Path(__file__).with_name("sources.py"))
assert SPEC and SPEC.loader
MODULE = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = MODULE
SPEC.loader.exec_module(MODULE)


@pytest.fixture
def sources() -> ModuleType:
    return MODULE


@pytest.fixture
def make_source(tmp_path, monkeypatch):
    """Make the source of an importer, by its module's name."""

    def make(name: str):
        if name == "minari":
            from jepa_wm.data.importers import Minari

            monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
            MODULE.minari_dataset(tmp_path / "minari")
            return Minari("tests/tiny-v0")
        return getattr(MODULE, name)(tmp_path / "source")

    return make
