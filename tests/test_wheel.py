"""The built wheel, used from elsewhere than the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("jepa_wm-*.whl"))


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    return site


def run(site: Path, *args: str) -> str:
    """Standard output of Python in an empty folder, where the installed wheel comes before the checkout."""
    (site / "empty").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *args]
    ran = subprocess.run(command, cwd=site / "empty", env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_wheel_holds_packages_and_configs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packages = [path for package in ("jepa_wm", "pretrain", "probes") for path in (ROOT / package).rglob("*")]
    sources = [path for path in packages if path.is_file() and path.suffix != ".pyc"]
    configs = (ROOT / "configs").rglob("*.yaml")
    expected = {path.relative_to(ROOT).as_posix() for path in sources}
    expected |= {"jepa_wm/" + path.relative_to(ROOT).as_posix() for path in configs}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_command_runs(elsewhere: Path) -> None:
    assert "collect" in run(elsewhere, "-m", "jepa_wm", "--help")
    entry = (next(elsewhere.glob("*.dist-info")) / "entry_points.txt").read_text()
    assert "jepa-wm = jepa_wm.cli:main" in entry


def test_the_installed_package_uses_its_own_configs(elsewhere: Path) -> None:
    shown = run(elsewhere, "-m", "jepa_wm", "collect", "--out=x", "--print_config")
    assert "environment: jepa_wm/TwoRooms-v0" in shown
    where = run(elsewhere, "-c", "from jepa_wm.paths import config_root; print(config_root())")
    assert Path(where.strip()) == elsewhere / "jepa_wm" / "configs"
