"""The rules of the house, read off the source."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("jepa_wm", "probes", "pretrain")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LAYERS = [
    {"errors", "complaint", "contracts", "files", "manifest", "checkpoint", "distributed", "optim", "schedules"}
    | {"statistics", "standard", "precision", "paths", "allocator", "processor", "modes"},
    {"observations"},
    {"envs"},
    {"data"},
    {"planning"},
    {"losses"},
    {"encoders"},
    {"dynamics"},
    {"model_folder"},
    {"objectives"},
    {"goals"},
    {"search"},
    {"world_model"},
    {"released", "export", "encode"},
    {"interop"},
    {"control"},
    {"cli"},
    {"demo", "__main__"},
]
OWNERS = {
    "lightning": ("pretrain/",),
    "webdataset": ("jepa_wm/data/",),
    "gymnasium": ("jepa_wm/envs/", "jepa_wm/control/", "jepa_wm/interop/"),
    "pymunk": ("jepa_wm/envs/push_t_physics.py",),
    "open_clip": ("jepa_wm/encoders/", "jepa_wm/objectives/contrast.py"),
    "faiss": ("probes/", "jepa_wm/control/landmarks.py"),
    "stable_worldmodel": ("jepa_wm/interop/worlds.py", "jepa_wm/interop/cube.py"),
    "tensorboardX": ("pretrain/",),
    "wandb": ("pretrain/",),
    "torch.distributed": ("jepa_wm/distributed.py",),
}
HEAVY = ("lightning", "open_clip", "timm", "gymnasium", "webdataset", "faiss", "matplotlib")

TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in FILES}


def offenders(judge: Callable[[str, ast.Module], object]) -> dict[str, object]:
    """What a rule finds wrong, by file; those it finds nothing in are left out."""
    return {file: found for file, tree in TREES.items() if (found := judge(file, tree))}


def imports(tree: ast.AST) -> set[str]:
    """Dotted names that a file imports, at any depth; `from a import b` gives `a` and `a.b`; relative, with dots."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def layer(name: str) -> int:
    found = [rank for rank, members in enumerate(LAYERS) if name in members]
    assert found, f"'{name}' has no place in the staircase: add it to LAYERS in {Path(__file__).name}"
    return found[0]


def broken_arrows(file: str, names: set[str]) -> list[str]:
    """Imports of `names` that a file of this path may not have."""
    package, part = file.removesuffix(".py").split("/")[:2]
    later = PACKAGES[PACKAGES.index(package) + 1 :]
    broken = [name for name in names if name.startswith(".") or any(within(name, other) for other in later)]
    # The package's __init__ names its lazy exports for type checkers.
    if package == "jepa_wm" and part != "__init__":
        parts = {name.split(".")[1] for name in names if name.startswith("jepa_wm.")} - {"__version__", part}
        broken += [f"jepa_wm.{other}" for other in parts if layer(other) > layer(part) - (layer(part) > 0)]
    return broken


def foreign(file: str, names: set[str]) -> list[str]:
    """Imports of `names` that belong to others than this file."""
    return [
        name
        for name in names
        for library, owners in OWNERS.items()
        if within(name, library) and not file.startswith(owners)
    ]


def test_imports_go_one_way() -> None:
    assert offenders(lambda file, tree: broken_arrows(file, imports(tree))) == {}


def test_each_heavy_library_has_one_owner() -> None:
    assert offenders(lambda file, tree: foreign(file, imports(tree))) == {}


def reached(tree: ast.Module) -> list[int]:
    """Lines in which torch.distributed is an attribute, which no import shows."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return [node.lineno for node in nodes if ast.unparse(node) == "torch.distributed"]


def test_torch_distributed_is_not_reached_by_attribute() -> None:
    assert offenders(lambda _, tree: reached(tree)) == {}
    assert reached(ast.parse("import torch\ntorch.distributed.barrier()")) == [2]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("jepa_wm/envs/render.py", "jepa_wm.data.shards"),
        ("jepa_wm/planning/cem.py", "jepa_wm.world_model"),
        ("jepa_wm/errors.py", "jepa_wm.envs"),
        ("jepa_wm/control/plan.py", "probes.linear"),
        ("probes/run.py", "pretrain.cli"),
        ("jepa_wm/control/plan.py", "jepa_wm.cli"),
        ("probes/run.py", ".linear"),
    ],
)
def test_a_broken_arrow_would_be_seen(file: str, name: str) -> None:
    assert broken_arrows(file, {name})


def test_a_foreign_import_would_be_seen() -> None:
    assert foreign("jepa_wm/optim.py", {"torch.distributed"})
    assert foreign("probes/run.py", {"lightning.pytorch"})
    assert not foreign("pretrain/module.py", {"lightning.pytorch"})


def undocumented(tree: ast.Module, promised: set[str]) -> list[str]:
    """Public definitions without a docstring; a method that a protocol or a base class here describes needs none."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    bases = {ast.unparse(base) for cls in classes for base in cls.bases}
    described = (node for cls in classes if cls.name in bases for node in cls.body if isinstance(node, ast.FunctionDef))
    promised = promised | {node.name for node in described if ast.get_docstring(node)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    methods = [node for cls in classes for node in cls.body if isinstance(node, ast.FunctionDef)]
    return [
        node.name
        for node in (*classes, *functions, *(node for node in methods if node.name not in promised))
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]


def promises() -> set[str]:
    """Methods that protocols, abstract classes and the contracts describe."""
    found = set()
    for file, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and (
                file.endswith("/contracts.py") or {"Protocol", "ABC"} & set(map(ast.unparse, node.bases))
            ):
                found |= {
                    item.name for item in node.body if isinstance(item, ast.FunctionDef) and ast.get_docstring(item)
                }
    return found


PROMISED = promises()


def test_what_is_public_has_a_docstring() -> None:
    assert offenders(lambda _, tree: [] if ast.get_docstring(tree) else ["the module"]) == {}
    assert offenders(lambda _, tree: undocumented(tree, PROMISED)) == {}


def test_a_missing_docstring_would_be_seen() -> None:
    source = "def f(): pass\nclass A:\n    def forward(self): pass\n    def own(self): pass\n    def _own(self): pass"
    assert undocumented(ast.parse(source), {"forward"}) == ["A", "f", "own"]


def unbidden(tree: ast.Module) -> list[int]:
    """Lines with a progress bar that does not say when it is silent: a log file would fill with it."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "tqdm"]
    return [call.lineno for call in calls if "disable" not in {keyword.arg for keyword in call.keywords}]


def test_bars_are_silent_where_nobody_is_watching() -> None:
    assert offenders(lambda _, tree: unbidden(tree)) == {}
    assert unbidden(ast.parse("for i in tqdm(range(3), leave=False):\n    pass")) == [1]


def test_files_and_functions_fit_on_screens() -> None:
    def long(_: str, tree: ast.Module) -> list[str]:
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        return [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 80]

    assert offenders(long) == {}
    assert [file for file in TREES if len((ROOT / file).read_text().splitlines()) > 400] == []


def rooms() -> list[str]:
    """Folders with source of their own, as they are called below tests/."""
    parents = {path.parent.relative_to(ROOT) for path in FILES if path.name not in ("__init__.py", "__main__.py")}
    return sorted("/".join(room.parts).removeprefix("jepa_wm/") for room in parents - {Path("jepa_wm")})


@pytest.mark.parametrize("room", rooms())
def test_each_room_has_tests_of_its_own(room: str) -> None:
    folder, name = ROOT / "tests" / room, room.rpartition("/")[2]
    files = [*folder.rglob("test_*.py"), *folder.parent.glob(f"test_{name}.py")]
    assert any("def test_" in path.read_text() for path in files), f"{folder} holds no tests"


def test_importing_the_package_brings_in_nothing_heavy() -> None:
    code = f"import sys, jepa_wm.cli; print([name for name in {('torch', *HEAVY)} if name in sys.modules])"
    light = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert light.stdout.strip() == "[]"


def test_contracts_bring_in_torch_and_nothing_heavier() -> None:
    code = f"import sys, jepa_wm.contracts; print([name for name in {HEAVY} if name in sys.modules])"
    light = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert light.stdout.strip() == "[]"
