"""Does an ensemble know when it does not know? `python -m benchmarks.uncertainty`, after `benchmarks.drift`.

The ensemble of `configs/dynamics/ensemble.yaml` is trained for each seed in both worlds of `benchmarks.drift`, and
imagines held-out episodes of the worlds that it was trained in, and of worlds whose factors have values that no
training episode had. AUROC of the worst tenth of the errors, over all steps and within each: how often such an error
has the greater uncertainty of the two. Beside it, what needs no ensemble: how many steps ahead, and how far the
imagined latent has moved. Writes a section of docs/results.md; the last line is JSON.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from benchmarks.drift import EPISODES, HORIZON, SEEN, SKIP, UNCERTAIN, WORLDS, collect, train
from benchmarks.tables import RESULTS, machine, markdown, replace_section
from jepa_wm.data import EpisodeShards
from jepa_wm.world_model import WorldModel
from probes.drift import Stray, read_film, stray

WORST = 0.1
ASKED = 0.8


def worst(errors: Tensor) -> Tensor:
    """Which of the errors, of any shape, are among the worst tenth."""
    return errors > torch.quantile(errors.flatten(), 1 - WORST)


def scores(found: Stray) -> dict[str, Tensor]:
    """What may tell of errors (E, K), by name."""
    assert found.uncertainty is not None
    steps = torch.arange(1.0, found.real.shape[1] + 1).expand(len(found.real), -1)
    moved = (found.imagined - found.still).square().sum(dim=(-2, -1)).sqrt()
    return {"uncertainty": found.uncertainty, "steps ahead": steps, "distance moved": moved}


def auroc(score: Tensor, errors: Tensor) -> tuple[float, float]:
    """Of the worst errors (E, K): over all, and the mean of those within each step."""
    # The metric takes scores outside [0, 1] for logits.
    score = score / score.max()
    each = [binary_auroc(score[:, step], worst(errors[:, step])) for step in range(errors.shape[1])]
    return float(binary_auroc(score.flatten(), worst(errors).flatten())), float(torch.stack(each).mean())


def row(model: WorldModel, shards: Path) -> dict[str, float]:
    """AUROC of each score, and the expected error over the one there was."""
    film = read_film(EpisodeShards(str(shards), "test"), SKIP, SEEN + HORIZON, EPISODES)
    found = stray(model, film, SEEN)
    errors = (found.imagined - found.real).square().mean(dim=(-2, -1)).sqrt()
    figures = {}
    for name, score in scores(found).items():
        figures[name], figures[f"{name}, within a step"] = auroc(score, errors)
    assert found.uncertainty is not None
    figures["expected error / error"] = float((found.uncertainty.square().mean() / errors.square().mean()).sqrt())
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
        for kind in ("varied", "shifted"):
            shards = collect(arguments.out, world, kind)
            each = [row(model, shards) for model in models]
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
