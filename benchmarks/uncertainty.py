"""Does an ensemble know when it does not know? `python -m benchmarks.uncertainty`, after `benchmarks.drift`.

The ensemble of `configs/dynamics/ensemble.yaml` is trained for each seed in both worlds of `benchmarks.drift`, on
episodes in which looks vary. Its expected error is fitted over twenty steps on training episodes and scaled on
validation episodes, and held against the errors in test episodes of the same kind, and of worlds whose factors have
values that no training episode had. AUROC of the worst tenth of the errors, over all steps and within each: how often
such an error is the greater expected of two. Beside it the law without what latents tell, what it is made of, and how
many steps ahead it is. Writes a section of docs/results.md; the last line is JSON.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from benchmarks.drift import EPISODES, HORIZON, SEEN, SKIP, UNCERTAIN, WORLDS, collect, train
from benchmarks.tables import RESULTS, machine, markdown, replace_section
from jepa_wm.data import EpisodeShards
from jepa_wm.dynamics.calibration import LAW, Calibration
from jepa_wm.world_model import WorldModel
from probes.drift import read_film, stray

LEARNED = 1200
"""Training episodes that the expected error is fitted on."""
WORST = 0.1
ASKED = 0.8


def worst(errors: Tensor) -> Tensor:
    """Which of the errors, of any shape, are among the worst tenth."""
    return errors > torch.quantile(errors.flatten(), 1 - WORST)


class Told(NamedTuple):
    """Of imagined latents: signs of their errors (E, K, 2 + 2 D), and their errors (E, K)."""

    signs: Tensor
    errors: Tensor


def told(model: WorldModel, shards: Path, split: str, episodes: int = EPISODES) -> Told:
    """Imagine episodes, with a calibration that answers with the spread alone."""
    model.calibration = Calibration(model.dynamics.latent_dim)
    found = stray(model, read_film(EpisodeShards(str(shards), split), SKIP, SEEN + HORIZON, episodes), SEEN)
    assert found.uncertainty is not None
    moved, errors = ((found.imagined - other).square().mean(dim=(-2, -1)).sqrt() for other in (found.still, found.real))
    places = (place.mean(dim=-2) for place in (found.still, found.imagined))
    return Told(torch.cat([found.uncertainty[..., None], moved[..., None], *places], dim=-1), errors)


def auroc(score: Tensor, errors: Tensor) -> tuple[float, float]:
    """Of the worst errors (E, K): over all, and the mean of those within each step."""
    # The metric takes scores outside [0, 1] for logits.
    score = score / score.max()
    each = [binary_auroc(score[:, step], worst(errors[:, step])) for step in range(errors.shape[1])]
    return float(binary_auroc(score.flatten(), worst(errors).flatten())), float(torch.stack(each).mean())


def calibrated(learned: Told, known: Told) -> Calibration:
    """The expected error, fitted on `learned` and scaled on `known`."""
    made = Calibration((learned.signs.shape[-1] - LAW) // 2)
    made.fit(*learned)
    made.rescale(*known)
    return made


def row(made: Calibration, test: Told) -> dict[str, float]:
    """AUROC of the expected error and of what it is made of; and how large it is."""
    law, expected = copy.deepcopy(made), made(test.signs)
    law.weights.zero_()
    law.middle.zero_()
    spread, moved = test.signs[..., :LAW].unbind(dim=-1)
    steps = torch.arange(1.0, HORIZON + 1).expand_as(spread)
    figures = {}
    scores = {"expected error": expected, "law alone": law(test.signs), "spread alone": spread}
    scores |= {"distance moved": moved, "steps ahead": steps}
    for name, score in scores.items():
        figures[name], figures[f"{name}, within a step"] = auroc(score, test.errors)
    figures["expected / made"] = float((expected.square().mean() / test.errors.square().mean()).sqrt())
    return figures


def main() -> None:
    """Train, imagine, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/drift"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    rows, means = {}, {}
    for world in WORLDS:
        models = [
            WorldModel.from_pretrained(train(arguments.out, world, "varied", UNCERTAIN, seed))
            for seed in arguments.seeds
        ]
        seen = collect(arguments.out, world, "varied")
        made = [calibrated(told(model, seen, "train", LEARNED), told(model, seen, "val")) for model in models]
        for kind in ("varied", "shifted"):
            shards = collect(arguments.out, world, kind)
            each = [row(own, told(model, shards, "test")) for own, model in zip(made, models, strict=True)]
            name = f"{world}, {'factors as trained' if kind == 'varied' else 'held-out factors'}"
            values = {key: torch.tensor([one[key] for one in each]) for key in each[0]}
            means[name] = {key: round(float(value.mean()), 3) for key, value in values.items()}
            rows[name] = {
                key: f"{value.mean():.2f} ({value.min():.2f}–{value.max():.2f})" for key, value in values.items()
            }
    text = f"AUROC of the worst tenth; asked: {ASKED}. Means, least and greatest of {len(arguments.seeds)} seeds."
    replace_section(RESULTS, "uncertainty", f"{text}\n\n{markdown('episodes', rows)}\n\n{machine()}")
    print(json.dumps(means))


if __name__ == "__main__":
    main()
