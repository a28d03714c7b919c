"""What was run on what: data, stages, configurations."""

from typing import Any

import yaml

from probes.report.html import Markup, details, element, note, section, table
from probes.report.inputs import Runs
from probes.report.rows import Row
from probes.report.text import MISSING, count, duration, gib


def record(runs: Runs, summary: dict[str, Any]) -> Markup:
    """Data, then the stages with their time, memory and code, then the configurations."""
    rows = [_stage_row(stage, manifest) for stage, manifest in runs.manifests.items()]
    rows.append(("total", duration(summary["seconds"]["total"]), gib(summary["peak_rss_gib"]), "", "", ""))
    versions = ", ".join(f"{name} {value}" for name, value in (summary["versions"] or {}).items() if value)
    machine = summary["machine"]
    text = f"{machine['cores']} of {machine['cpu_count']} CPU cores, {machine['platform']}. {versions}."
    configs = [details(f"{stage}: configuration", _yaml(m.get("config"))) for stage, m in runs.manifests.items()]
    return section(
        "What was run on what",
        *(_data(runs.manifests["collect"]) if "collect" in runs.manifests else []),
        table(("stage", "time", "peak memory", "steps", "commit", "python"), rows),
        note(text),
        *configs,
    )


def manifest(fields: Row) -> Markup:
    """What was run on what: all that is known of one run."""
    return section("What was run on what", details("manifest", _yaml(fields)))


def _data(manifest: Row) -> list[Markup]:
    splits = manifest.get("splits") or {}
    columns = [name for name in _numeric_names(splits)]
    rows = [(split, *(count(fields.get(name)) for name in columns)) for split, fields in splits.items()]
    config = manifest.get("config") or {}
    factors = ", ".join(f"{name}: {value}" for name, value in (config.get("factors") or {}).items())
    text = f"{manifest.get('environment', MISSING)}. Factors of variation: {factors or 'all at their defaults'}."
    return [table(("data", *columns), rows), note(text)]


def _numeric_names(splits: dict[str, Row]) -> list[str]:
    """Whole numbers that describe a split, such as episodes and frames."""
    names = {name: None for fields in splits.values() for name, value in fields.items() if isinstance(value, int)}
    return list(names)


def _stage_row(stage: str, manifest: Row) -> tuple[object, ...]:
    return (
        stage,
        duration(manifest.get("seconds")),
        gib(manifest.get("peak_rss_gib")),
        count(manifest.get("steps")),
        element("code", (manifest.get("commit") or MISSING)[:10]),
        manifest.get("python") or MISSING,
    )


def _yaml(config: Any) -> Markup:
    return element("pre", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
