"""Loading of trained encoders and text towers, wherever they come from.

| source | what it names |
|---|---|
| `timm:NAME[.TAG][@FILE]` | a ViT of timm, with the weights of its release or of a file |
| `open_clip:NAME[:TAG][@FILE]` | a tower of open_clip, likewise |
| `hf:NAME` or `hf:FOLDER` | a model of the Hugging Face hub, or a folder in its layout |
| a file | a raw checkpoint of I-JEPA, V-JEPA 1, 2 and 2.1, DINOv2 or DINOv3 |
| a folder | a run of this package, one of its checkpoints, or a folder in the hub's layout |
"""

import logging
from difflib import get_close_matches
from pathlib import Path

from jepa_wm.checkpoint import find_part, load_module
from jepa_wm.contracts import Encoder
from jepa_wm.encoders.hf_text import HFText
from jepa_wm.encoders.hub import hub_folder, preprocessing_of
from jepa_wm.encoders.layouts import convert
from jepa_wm.encoders.open_clip_encoder import load_open_clip, load_open_clip_text
from jepa_wm.encoders.preprocessing import Preprocessing
from jepa_wm.encoders.text import TextAlignment, TextTower
from jepa_wm.encoders.timm_encoder import load_timm
from jepa_wm.encoders.tubelets import with_tubelet
from jepa_wm.encoders.vit import ViT
from jepa_wm.encoders.weights import pick, read_folder, read_weights
from jepa_wm.errors import UserError
from jepa_wm.files import read_json

logger = logging.getLogger("jepa_wm")

KINDS = ("timm", "open_clip", "hf")


def load_encoder(
    source: str,
    part: str | None = None,
    heads: int | None = None,
    preprocessing: Preprocessing | None = None,
    tubelet: int | None = None,
) -> Encoder:
    """Load an encoder, in eval mode; what was taken is logged, and kept as `encoder.source`.

    Args:
        source: see above.
        part: of a checkpoint that holds several, "target" for what was averaged over training, "context" for what
            was trained. Unsaid it is "target", as the probes of I-JEPA and V-JEPA take it, but of this package's runs
            "encoder" ("context" by another name; "target" there is "teacher", or "encoder" where there is none), and
            of timm's releases of I-JEPA "context", for no other is in them.
        heads: attention heads, where a raw checkpoint is of no published width.
        preprocessing: in place of the published one; of a `ViT` alone.
        tubelet: frames that a token is to span, in place of as many as its weights are for; of a `ViT` alone, and
            from one frame to several or from several to one (`with_tubelet`).

    Raises:
        UserError: if there is no such source or part, it cannot be fetched, its layout is unknown, its tokens cannot
            span so many frames, or it is no `ViT` and is to have another preprocessing or tubelet.
    """
    kind, _, name = source.partition(":")
    if kind in KINDS and not name:
        raise UserError(f"'{source}' lacks a name; expected '{kind}:NAME'")
    if kind == "timm":
        encoder: Encoder = load_timm(name, part)
    elif kind == "open_clip":
        if part not in (None, "target"):
            raise UserError(f"'{source}' has one encoder; got part '{part}', expected none, or target")
        encoder = load_open_clip(name)
    elif kind == "hf":
        if part not in (None, "target", "context"):
            raise UserError(f"'{source}' has one encoder; got part '{part}', expected none, or target or context")
        encoder = _from_hub(hub_folder(name), name)
    else:
        encoder = _from_path(source, part, heads)
    if preprocessing is not None or tubelet is not None:
        if not isinstance(encoder, ViT):
            kept = "preprocessing" if tubelet is None else "patches"
            raise UserError(f"'{source}' is a {type(encoder).__name__}, which keeps its {kept}; expected a ViT")
        encoder.expect(preprocessing or encoder.preprocessing)
        encoder = encoder if tubelet is None else with_tubelet(encoder, tubelet)
    logger.info("loaded %s", encoder.source)
    return encoder


def load_text(source: str) -> TextAlignment:
    """Load a text alignment from a run folder or a checkpoint folder.

    Args:
        source: the folder of a run (`runs/demo/pretrain`) or of one of its checkpoints.

    Raises:
        UserError: if the folder holds none, or it is broken.
    """
    folder = find_part(Path(source), "text")
    text = load_module(folder)
    if not isinstance(text, TextAlignment):
        raise UserError(f"{folder} holds a {type(text).__name__}; expected a TextAlignment")
    return text


def load_text_tower(source: str, pool: str | None = None) -> TextTower:
    """Load a text tower with its tokenizer, in eval mode.

    Args:
        source: `open_clip:NAME[:TAG][@FILE]`, or `hf:NAME` or `hf:FOLDER` for any text encoder of the hub.
        pool: how the latter's tokens become one vector, as `HFText`.

    Raises:
        UserError: if there is no such tower, or it cannot be fetched.
    """
    kind, _, name = source.partition(":")
    if kind == "open_clip" and name:
        tower: TextTower = load_open_clip_text(name)
    elif kind == "hf" and name:
        tower = HFText(name, pool)
        tower.load_weights()
    else:
        raise UserError(f"'{source}' names no text tower; expected 'open_clip:NAME[:TAG]' or 'hf:NAME'")
    logger.info("loaded the text tower of %s", source)
    return tower.eval()


def _from_path(source: str, part: str | None, heads: int | None) -> Encoder:
    path = Path(source)
    if path.is_file():
        name, state = pick(read_weights(path), part or "target", str(path))
        config = {} if heads is None else {"num_attention_heads": heads}
        encoder, layout = convert(state, config, str(path))
        encoder.source = f"{path.name}: {name or 'its only weights'} ({layout} layout)"
        return encoder
    if (path / "config.json").is_file() and not (path / "model").is_dir() and not (path / "checkpoints").is_dir():
        return _from_hub(path, path.name)
    if not path.is_dir():
        kind = source.partition(":")[0]
        close = get_close_matches(kind, KINDS, n=1) if ":" in source else []
        hint = f"; did you mean '{close[0]}:'?" if close else ""
        raise UserError(
            f"'{source}' is no file or folder{hint}; expected one, or {', '.join(f'{kind}:NAME' for kind in KINDS)}"
        )
    part = {None: "encoder", "context": "encoder"}.get(part, part)
    folder = _target(path) if part == "target" else find_part(path, str(part))
    trained = load_module(folder)
    if not isinstance(trained, Encoder):
        raise UserError(f"{folder} holds a {type(trained).__name__}; expected an encoder")
    trained.source = f"{path}: {folder.name} (this package's run)"
    return trained


def _target(run: Path) -> Path:
    try:
        return find_part(run, "teacher")
    except UserError:
        return find_part(run, "encoder")


def _from_hub(folder: Path, name: str) -> Encoder:
    config = read_json(folder / "config.json")
    if "model_type" not in config:
        hint = f"; as a timm model it is 'timm:{config['architecture']}'" if "architecture" in config else ""
        raise UserError(f"{folder / 'config.json'} names no model_type, so '{name}' is no model of transformers{hint}")
    encoder, layout = convert(read_folder(folder), config | {"preprocessing": preprocessing_of(folder)}, name)
    encoder.source = f"{name}: the encoder that was published ({layout} layout)"
    return encoder
