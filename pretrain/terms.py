"""Options of single terms, as `--model.objectives.forecast.init_args.terms.sigreg.init_args.weight=0.1`."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from jepa_wm.errors import UserError

TERM = re.compile(r"--model\.objectives\.([^.]+)\.(?:init_args\.)?terms\.([^.]+)\.(.+)")
PRINT = "--print_config"


def with_terms(parser: ArgumentParser, args: list[str]) -> list[str]:
    """The arguments, with each option of a term as one of all terms of its objective.

    jsonargparse takes an option of all terms in place of those of the config, and one of a single term not at all: it
    finds its way through a dictionary of classes, but not through one that is within another.

    Raises:
        UserError: if the objective has no such term.
    """
    rest = list[str]()
    asked = list(_asked(args, rest))
    if not asked:
        return args
    config = parser.parse_args([word for word in rest if not word.startswith(PRINT)])
    objectives = yaml.safe_load(parser.dump(config, skip_unset=False))["model"]["objectives"]
    for objective, term, path, value in asked:
        terms = objectives.get(objective, {}).get("init_args", {}).get("terms") or {}
        if term not in terms:
            raise UserError(
                f"--model.objectives.{objective}.init_args.terms.{term}.{path}: there is no such term; "
                f"{objective} has {', '.join(terms) or 'none'}"
            )
        _put(terms[term], path.split("."), yaml.safe_load(value))
    return rest + [
        f"--model.objectives.{name}.init_args.terms={json.dumps(objectives[name]['init_args']['terms'])}"
        for name in dict.fromkeys(objective for objective, *_ in asked)
    ]


def _asked(args: list[str], rest: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """Objective, term, what of it and to which value, of each such option; all else goes into `rest`."""
    words = iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        if match := TERM.fullmatch(option):
            yield (*match.groups(), value if equals else next(words, ""))  # type: ignore[misc]
        else:
            rest.append(word)


def _put(part: dict[str, Any], path: list[str], value: Any) -> None:
    """Set what a path leads to, through classes whose `init_args` it need not name."""
    for name in path[:-1]:
        part = _inside(part, name).setdefault(name, {})
    _inside(part, path[-1])[path[-1]] = value


def _inside(part: dict[str, Any], name: str) -> dict[str, Any]:
    own = "class_path" in part and name not in ("class_path", "init_args")
    return part.setdefault("init_args", {}) if own else part
