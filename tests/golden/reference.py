"""What the make_*.py scripts share: their one argument, the record of how they ran, and writing the file."""

import argparse
import contextlib
import importlib.util
import json
import logging
import subprocess
import sys
import textwrap
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from formula import checks, fill, rounded
from torch import Tensor, nn

HERE = Path(__file__).parent


def source(description: str | None) -> Path:
    """The folder named by --source: a work tree of the reference, put first on the import path."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="work tree of the reference's repository")
    folder = parser.parse_args().source.resolve()
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return folder


def how(folder: Path, repository: str, note: str) -> dict[str, str]:
    """Which code made the numbers, and how."""
    commit = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return {
        "repository": repository,
        "commit": commit.stdout.strip(),
        "command": f"python tests/golden/{Path(sys.argv[0]).name} --source FOLDER",
        "torch": torch.__version__,
        "dtype": "float64",
        "note": " ".join(note.split()),
    }


def alone(file: Path) -> types.ModuleType:
    """A file of a package without the package, whose import is heavy; of stable-worldmodel."""
    sys.modules.setdefault("stable_worldmodel", types.ModuleType("stable_worldmodel"))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(name: str, content: Mapping[str, object]) -> None:
    """golden/<name>.json: whatever fits stays on one line."""
    text = layout(content) + "\n"
    (HERE / f"{name}.json").write_text(text)
    print(f"{name}.json: {len(text):,} bytes")


def layout(x: object, indent: str = "") -> str:
    flat = json.dumps(x, ensure_ascii=False)
    if len(indent) + len(flat) <= 110 or not isinstance(x, dict | list):
        return flat
    inner = indent + " "
    if isinstance(x, dict):
        items = [f"{inner}{json.dumps(key)}: {layout(value, inner)}" for key, value in x.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if any(isinstance(value, dict | list | str) for value in x):
        return "[\n" + ",\n".join(inner + layout(value, inner) for value in x) + f"\n{indent}]"
    return textwrap.fill(flat, 110, initial_indent="", subsequent_indent=inner)


def stub(name: str, **members: object) -> None:
    """A fake for a module that the reference imports and these numbers do not need."""
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def package(name: str, folder: Path) -> None:
    """A package whose own __init__ is not run, so that one of its modules comes alone."""
    stub(name, __path__=[str(folder)])


def one_process() -> None:
    """A real process group of one, for code that always reduces."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)


def set_parameters(model: nn.Module, prefix: str, tables: Iterable[str] = ()) -> dict[str, list[int]]:
    """Makes the model float64 and fills all but its fixed tables by the formula; returns names and shapes."""
    model.double()
    shapes = {name: list(p.shape) for name, p in model.named_parameters() if name not in tables}
    model.load_state_dict({**model.state_dict(), **fill(shapes, prefix)})
    return shapes


def gradient_norms(model: nn.Module) -> dict[str, float]:
    return {name: rounded(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}


def gradients(loss: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, dict[str, object]]:
    """Of the loss with respect to each input: its norm and checks("gradient." + name, ...)."""
    found = torch.autograd.grad(loss, list(inputs.values()))
    return {n: {"norm": rounded(g.norm()), **checks(f"gradient.{n}", g)} for n, g in zip(inputs, found, strict=True)}


@contextlib.contextmanager
def float_means_double() -> Iterator[None]:
    """The reference's casts to float32 (``x.float()``) keep float64 inside this context."""
    cast = Tensor.float
    Tensor.float = Tensor.double
    try:
        yield
    finally:
        Tensor.float = cast
