"""Sentences about Push-T: where the block is and where its stem points."""

import numpy as np

_ROWS, _COLUMNS = ("top", "", "bottom"), ("left", "", "right")
DIRECTIONS = ("right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right")


def place(state: np.ndarray) -> str:
    """The ninth of the world that the block's centre of mass is in; `state` (8,) as `tee` describes it."""
    column, row = np.clip(np.floor(state[2:4] * 3), 0, 2).astype(int)
    return " ".join(word for word in (_ROWS[row], _COLUMNS[column]) if word) or "middle"


def direction(state: np.ndarray) -> str:
    """The eighth of a turn that the stem points to, away from the bar."""
    sine, cosine = state[4:6]
    return DIRECTIONS[round(float(np.arctan2(cosine, -sine)) * 4 / np.pi) % 8]


def caption(state: np.ndarray, rng: np.random.Generator) -> str:
    """A true sentence about `state` (8,); `rng` chooses its form."""
    where, stem = place(state), direction(state)
    sentences = (
        f"the block is at the {where}, its stem points {stem}",
        f"a T at the {where}, its stem {stem}",
        f"the stem of the T points {stem}, at the {where}",
    )
    return sentences[rng.integers(len(sentences))]
