"""`jepa-wm <verb> …`: a table of strings, imported on use."""

import argparse
import inspect
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any

from jepa_wm import __version__
from jepa_wm.complaint import mendable, nearest, one_line, unknown
from jepa_wm.errors import UserError
from jepa_wm.paths import config_root, find_config

VERBS = {
    "collect": ("jepa_wm.control.collect:collect", "play episodes in an environment and write them to shards"),
    "pretrain": ("pretrain.cli:main", "train an encoder by one or several objectives"),
    "encode": ("jepa_wm.encode:encode", "write shards with what an encoder makes of each frame beside it"),
    "check": ("pretrain.cli:check", "say what is likely to be wrong with a config of pretrain or forecast"),
    "forecast": ("pretrain.cli:main", "train an action-conditioned latent predictor on an encoder"),
    "plan": ("jepa_wm.control.plan:plan", "plan towards image goals and sentences, and count the successes"),
    "compare": (
        "jepa_wm.control.compare:compare",
        "hold the planners of several runs against each other, on the same goals",
    ),
    "export": ("jepa_wm.export:export", "write a world model as programs that run where nothing but PyTorch is"),
    "probe": ("probes.run:probe", "measure what the latents know, over training steps"),
    "probe extract": (
        "probes.extract:extract",
        "write what encoders make of frames or images, layer by layer, to a store",
    ),
    "probe track": ("probes.convergence.track:track", "what runs know at every checkpoint, and whether they converge"),
    "probe world": ("probes.diagnostics.run:diagnose", "ask of a world model whether it is one, beside controls"),
    "align": ("probes.convergence.align:align", "how alike encoders are, layer by layer, beside chance"),
    "report": ("probes.report:report", "write report.html and summary.json from the runs of the other verbs"),
    "demo": ("jepa_wm.demo:demo", "collect, pretrain, forecast, plan, probe and report, one after the other"),
    "shards pack": ("jepa_wm.data.verbs.pack:pack", "convert another format to shards"),
    "shards index": ("jepa_wm.data.verbs.index:index", "make tars from elsewhere readable as a folder of shards"),
    "shards inspect": ("jepa_wm.data.verbs.inspect:inspect", "say what shards hold, and draw some of it"),
    "shards verify": ("jepa_wm.data.verbs.verify:verify", "find what is broken in shards"),
    "shards split": ("jepa_wm.data.verbs.split:split", "divide shards anew into train, val and test"),
    "shards merge": ("jepa_wm.data.verbs.merge:merge", "put several folders of shards into one"),
}
"""What each verb runs, `module:function`, and what it is for."""

SHOWN = ("plan",)
"""Verbs whose folder gets a page of its own, by `report`."""

TRAINERS = ("pretrain", "forecast", "check")
"""Verbs whose function reads the argument list itself; the others' signatures are their options."""


def main(argv: list[str] | None = None) -> int:
    """Run one verb; the exit code is 0, 2 for what the user can mend, 130 for Ctrl-C."""
    # Before torch is imported: OpenMP's threads spin while they wait, and where another process wants a core too, a
    # step of training then takes twenty times as long instead of twice. Where none does, never to spin makes small
    # steps half as long again. So they spin shortly (all measured).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    argv = sys.argv[1:] if argv is None else argv
    debug = "--debug" in argv
    verb, rest = _verb([arg for arg in argv if arg != "--debug"] or ["--help"])
    if verb in ("-h", "--help"):
        print(_usage())
        return 0
    if verb == "--version":
        print(f"jepa-wm {__version__}")
        return 0
    try:
        run_verb(verb, rest)
    except (UserError, argparse.ArgumentError, ValueError, OSError) as error:
        mistake = mendable(error)
        if mistake is None:
            raise
        if debug:
            traceback.print_exc()
        _complain(verb, one_line(mistake) + _hint(verb, rest, mistake))
        return 2
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning answers Ctrl-C by shutting down and raising SystemExit.
        if not isinstance(stop, KeyboardInterrupt) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        if debug:
            traceback.print_exc()
        _complain(verb, "interrupted; run the same command again to continue", kind="")
        return 130
    return 0


def _verb(argv: list[str]) -> tuple[str, list[str]]:
    """The verb, one word or two, and its arguments; a group of verbs alone asks for help."""
    if argv[0] in VERBS and " ".join(argv[:2]) not in VERBS:
        return argv[0], argv[1:]
    if any(verb.startswith(f"{argv[0]} ") for verb in VERBS):
        return ("--help", []) if argv[1:] in ([], ["-h"], ["--help"]) else (f"{argv[0]} {argv[1]}", argv[2:])
    return argv[0], argv[1:]


def run_verb(verb: str, argv: list[str]) -> None:
    """Run one verb in this process; without a `--config` in `argv` it runs `two_rooms/<verb>`.

    Raises:
        UserError: if the verb or a config is unknown, or the verb itself raises it.
        argparse.ArgumentError: if an argument or a config key is unknown or of a wrong type.
    """
    if verb not in VERBS:
        hint = nearest(verb, list(VERBS))
        raise UserError(f"'{verb}' is not a verb; expected one of {', '.join(VERBS)}{hint}")
    argv, given = _resolve_configs(argv)
    defaults = [] if given else [str(path) for path in [_own_config(verb)] if path.is_file()]
    function = _function(verb)
    if verb in TRAINERS:
        function([f"--config={path}" for path in defaults] + argv)
        return
    parser = _parser(verb, function, defaults)
    argv = _listed(argv, function)
    config = parser.instantiate(parser.parse_args(argv))
    function(**{name: config[name] for name in inspect.signature(function).parameters})
    if verb in SHOWN:
        _function("report")(config["out"])


def _function(verb: str) -> Callable[..., Any]:
    module, _, name = VERBS[verb][0].partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def _parser(verb: str, function: Callable[..., Any], defaults: list[str]) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=f"jepa-wm {verb}",
        description=inspect.getdoc(function).split("\n\nArgs:")[0],  # type: ignore[union-attr]
        exit_on_error=False,
        allow_abbrev=False,
        default_config_files=list(defaults),
    )
    parser.add_argument("--config", action="config", help="a YAML file, or the name of a shipped config")
    parser.add_function_arguments(function, as_group=False)
    return parser


def _listed(argv: list[str], function: Callable[..., Any]) -> list[str]:
    """`argv` with the words before its first option made the list that the function's first argument is."""
    words = list(takewhile(lambda arg: not arg.startswith("-"), argv))
    name, first = next(iter(inspect.signature(function).parameters.items()))
    if not words or first.annotation != list[str]:
        return argv
    return [f"--{name}={json.dumps(words)}", *argv[len(words) :]]


def _own_config(verb: str) -> Path:
    return config_root() / "two_rooms" / f"{verb}.yaml"


def _resolve_configs(argv: list[str]) -> tuple[list[str], bool]:
    """`argv` with shipped configs' names made paths, and whether it names any config."""
    resolved, given = [], False
    rest = iter(argv)
    for arg in rest:
        flag, equals, value = arg.partition("=")
        if flag == "--config":
            value = value if equals else next(rest, "")
            arg, given = f"--config={find_config(value)}", True
        resolved.append(arg)
    return resolved, given


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {purpose}" for verb, (_, purpose) in VERBS.items())
    return (
        "usage: jepa-wm [--help] [--version] <verb> [--config FILE] [options] [--debug]\n\n"
        "World models in embedding space.\n\n"
        f"verbs:\n{verbs}\n\n"
        "`jepa-wm <verb> --help` lists a verb's options; `--debug` shows the traceback of an error."
    )


def _complain(verb: str, message: str, kind: str = "error: ") -> None:
    print(f"jepa-wm {verb}: {kind}{message}", file=sys.stderr)


def _hint(verb: str, argv: list[str], error: Exception) -> str:
    """Where a wrong argument may have come from, and the known name that is nearest to an unknown one."""
    if isinstance(error, UserError):
        return ""
    configs = [arg.partition("=")[2] for arg in _resolve_configs(argv)[0] if arg.startswith("--config=")]
    where = f" (with the config {', '.join(configs)})" if configs else ""
    if "arguments are required: source" in str(error):
        return f"{where}; give --source"
    if not configs and verb in TRAINERS and "arguments are required" in str(error):
        return "; give --config"
    if wanted := re.search(r'key "([\w.]+)".*Expected a dot import path string: (\w+)', str(error), re.S):
        return where + _nearest_class(wanted[2], wanted[1])
    name = unknown(error)
    return where + (nearest(name, [known for known in _known_names(verb, configs) if known != name]) if name else "")


def _nearest_class(name: str, option: str) -> str:
    """The class that is nearest to a wrong name, as the option wants to be told it."""
    if option.rpartition(".")[2] != "planner":
        return nearest(name, import_module("jepa_wm.data.importers").__all__)
    # Planners are a protocol: nothing tells which modules hold them.
    return nearest(f"jepa_wm.planning.{name}", [f"jepa_wm.planning.{each}" for each in _planners()])


def _planners() -> list[str]:
    module = import_module("jepa_wm.planning")
    return [name for name in module.__all__ if hasattr(getattr(module, name), "plan")]


def _known_names(verb: str, configs: list[str]) -> Iterator[str]:
    """Names of options: those of the verb's own config, or where it has none of those that are given."""
    import yaml

    if verb not in TRAINERS:
        yield from inspect.signature(_function(verb)).parameters
    for path in [_own_config(verb)] if _own_config(verb).is_file() else map(Path, configs):
        yield from _dotted(yaml.safe_load(path.read_text()) or {})


def _dotted(tree: Any, prefix: str = "") -> Iterator[str]:
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield f"{prefix}{key}"
        yield from _dotted(value, f"{prefix}{key}.")
