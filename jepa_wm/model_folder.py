"""The folder that holds a model: where it is, what version made it, and what its card says."""

from pathlib import Path
from typing import Any

from torch import nn

from jepa_wm.checkpoint import PARTS, find_part, load_module, saved_parts
from jepa_wm.contracts import Dynamics, Encoder
from jepa_wm.dynamics.bounds import ActionBounds
from jepa_wm.encoders.hub import hub_folder
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, read_json, write_json

FORMAT = 2
"""Of saved folders; when to raise it, see that of runs (`jepa_wm.manifest`)."""
NAME = "world_model.json"
README = "README.md"
FILES = ("config.json", "model.safetensors")
"""Of each part."""
CARD = """---
library_name: jepa_wm
tags: [world-model, jepa, latent-dynamics, planning]
---

# A world model of jepa_wm

```python
from jepa_wm import WorldModel

model = WorldModel.from_pretrained("<this folder, or owner/name on the hub>")
future = model.imagine(pixels, actions)   # pixels uint8 (B, 3, H, W), actions (B, K, {block})
plan = model.plan(pixels, goal=image)     # or a sentence, where there is a part `text`
```

Actions have {action_dim} numbers, in the environment's units, between {low} and {high}; {frame_skip} of them make a
block, which leads from one latent to the next.
{state}
| part | class | parameters |
|---|---|---|
{rows}
"""

STATE = """
It reads states of {felt} numbers, too: `imagine` and `plan` want `state=` (B, {felt}), and a goal is
`jepa_wm.Observation(image, state)`.
"""


def model_folder(source: str | Path) -> Path:
    """The folder with a model's parts: of a run, a saved one, or fetched from the hub.

    Raises:
        UserError: if there is none, another version made it, or a part was lost since.
    """
    if not Path(source).exists() and str(source).count("/") == 1 and not str(source).startswith((".", "/")):
        folder = hub_folder(str(source), None)
    else:
        folder = find_part(source, "encoder").parent
    if (folder / NAME).is_file():
        _check(read_json(folder / NAME), folder)
    saved_parts(folder)
    return folder


def load_parts(source: str | Path) -> nn.ModuleDict:
    """All parts of the world model in a run folder, a saved folder, or on the hub, by name.

    Args:
        source: a folder, or "owner/name" of a model on the hub.

    Raises:
        UserError: if the folder lacks encoder or dynamics, or a part is broken or of another version of the format.
    """
    folder = model_folder(source)
    # A part of which one file is lost is broken, and not a part that was never there.
    found = {path.parent for name in FILES for path in folder.glob(f"*/{name}")}
    parts = nn.ModuleDict({path.name: load_module(path) for path in sorted(found)})
    if missing := {"encoder", "dynamics"} - set(parts):
        raise UserError(f"{folder} holds no '{min(missing)}'; it holds {sorted(parts)}")
    for name, kind in (("encoder", Encoder), ("dynamics", Dynamics)):
        if not isinstance(parts[name], kind):
            other = type(parts[name]).__name__
            raise UserError(f"{folder / name} holds a {other}; expected its {kind.__name__.lower()}")
    return parts


def check_free(folder: str | Path) -> None:
    """Refuse a folder that a saved model would delete the contents of: one with other things than such a model.

    Raises:
        UserError: if it is one.
    """
    path, own = Path(folder), set[str]()
    if (path / NAME).is_file():
        parts = saved_parts(path)
        own = {NAME, README, PARTS, *parts, *(f"{part}/{file}" for part in parts for file in FILES)}
    found = (str(entry.relative_to(path)) for entry in path.rglob("*"))
    if other := next((name for name in found if name not in own), None):
        raise UserError(
            f"{path} holds {other}, which is no part of a saved model and would be deleted; expected a folder that is "
            "new, empty, or holds nothing but a model that was saved before"
        )


def _check(made: Any, folder: Path) -> None:
    """Refuse a saved folder that another version made."""
    found = made.get("format") if isinstance(made, dict) else made
    if found != FORMAT:
        raise UserError(f"{folder / NAME} is of format {found}; expected {FORMAT}: another version of jepa_wm made it")


def write_card(folder: str | Path, bounds: ActionBounds, parts: dict[str, nn.Module]) -> None:
    """Write the format's version and the model card beside a world model's parts."""
    rows = "\n".join(
        f"| `{name}` | `{type(part).__name__}` | {sum(parameter.numel() for parameter in part.parameters()):,} |"
        for name, part in parts.items()
    )
    felt = getattr(parts.get("frames"), "state_dim", 0)
    text = CARD.format(
        state=STATE.format(felt=felt) if felt else "",
        block=bounds.frame_skip * bounds.action_dim,
        action_dim=bounds.action_dim,
        frame_skip=bounds.frame_skip,
        low=bounds.low.tolist(),
        high=bounds.high.tolist(),
        rows=rows,
    )
    with atomic_path(Path(folder) / README) as aside:
        aside.write_text(text)
    write_json(Path(folder) / NAME, {"format": FORMAT})
