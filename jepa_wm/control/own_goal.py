"""A goal in a user's own words, or of a picture of theirs."""

import re
from pathlib import Path

import numpy as np

from jepa_wm.data.images import EXTENSIONS, decode_image
from jepa_wm.envs import REGIONS, TWO_ROOMS, Region
from jepa_wm.errors import UserError
from jepa_wm.goals import GoalLike, Sentence


def read_goal(told: str, environment: str) -> GoalLike | np.ndarray:
    """What a user tells as a goal: the picture in a file (H, W, 3), else a sentence.

    In the two rooms a sentence that names a region is told from the others, as `jepa-wm plan` tells its own.

    Raises:
        UserError: if nothing is said, or a file is none or no picture.
    """
    if not told.strip():
        raise UserError("plan: got an empty goal; expected a sentence, or the path of a picture")
    path = Path(told)
    if _names_file(told) or _is_there(path):
        return _picture(path)
    named = region_of_goal(told, environment)
    return told if named is None else Sentence(told, against=[each.phrase for each in REGIONS if each != named])


def region_of_goal(told: str, environment: str) -> Region | None:
    """The region of the two rooms that a goal names, by the name that captions have for it; None if there is none."""
    words = " ".join(told.lower().split())
    named = [region for region in REGIONS if region.phrase in words and not _names_file(told)]
    return named[0] if environment == TWO_ROOMS and len(named) == 1 else None


def _names_file(told: str) -> bool:
    """Whether no sentence looks like this: it ends as pictures do, or is one word with a folder or an ending."""
    ends = Path(told).suffix.lower().removeprefix(".") in EXTENSIONS
    return ends or re.fullmatch(r"\S*(/\S*|\S\.\w+)", told) is not None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # Longer than names can be.
        return False


def _picture(path: Path) -> np.ndarray:
    if path.is_dir():
        raise UserError(
            f"plan: the goal {path} is a folder; expected a sentence, or the path of a picture: goals of an earlier "
            "run are played again by --goals"
        )
    if not path.is_file():
        raise UserError(f"plan: the goal {path} is not there; expected a sentence, or the path of a picture")
    try:
        # By its bytes, whatever its name says.
        return decode_image({EXTENSIONS[0]: path.read_bytes()})
    # Hostile bytes make the decoders raise nearly anything.
    except Exception as error:
        raise UserError(
            f"plan: the goal {path} cannot be read ({error}); expected a picture: {', '.join(EXTENSIONS)}"
        ) from None
