"""Does an ensemble know when it does not know? `python -m benchmarks.uncertainty`, after `benchmarks.drift`.

The ensemble of `configs/dynamics/ensemble.yaml` is trained for each seed in both worlds of `benchmarks.drift`, on
episodes in which looks vary. The error it expects, as it was saved with the model, is held against the errors in test
episodes of the same kind, and of worlds whose factors have values that no training episode had. AUROC of the worst
tenth of the errors, over all steps and within each: how often such an error is the greater expected of two; intervals
are over seeds and episodes. Beside it the law without what latents tell, what it is made of, and how many steps ahead
it is. Writes a section of docs/results.md; the last line is JSON.
"""

import argparse
import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from benchmarks.drift import EPISODES, HORIZON, SEEN, SKIP, WORLDS, collect, train
from benchmarks.tables import RESULTS, machine, markdown, replace_section
from jepa_wm.data import EpisodeShards
from jepa_wm.dynamics.calibration import Calibration
from jepa_wm.world_model import WorldModel
from probes.drift import read_film, stray
from probes.statistics import interval

WORST = 0.1
ASKED = 0.8
DRAWS = 200
SIZE = "expected / made"


def worst(errors: Tensor) -> Tensor:
    """Which of the errors, of any shape, are among the worst tenth."""
    return errors > torch.quantile(errors.flatten(), 1 - WORST)


def scored(model: WorldModel, shards: Path) -> dict[str, Tensor]:
    """Of imagined test episodes: what expects their errors, (E, K) by name, and "made", the errors themselves."""
    saved = model.calibration
    assert saved is not None
    # One that is new answers with the spread alone.
    model.calibration = Calibration(model.dynamics.latent_dim)
    found = stray(model, read_film(EpisodeShards(str(shards), "test"), SKIP, SEEN + HORIZON, EPISODES), SEEN)
    model.calibration, spread = saved, found.uncertainty
    assert spread is not None
    moved, made = ((found.imagined - other).square().mean(dim=(-2, -1)).sqrt() for other in (found.still, found.real))
    places = (place.mean(dim=-2) for place in (found.still, found.imagined))
    signs = torch.cat([spread[..., None], moved[..., None], *places], dim=-1)
    law = copy.deepcopy(saved)
    law.weights.zero_()
    law.middle.zero_()
    scores = {"expected error": saved(signs), "law alone": law(signs), "spread alone": spread, "distance moved": moved}
    return scores | {"steps ahead": torch.arange(1.0, HORIZON + 1).expand_as(made), "made": made}


def auroc(score: Tensor, errors: Tensor) -> Tensor:
    """Of the worst errors (E, K): over all, and the mean of those within each step."""
    # The metric takes scores outside [0, 1] for logits.
    score = score / score.max()
    each = [binary_auroc(score[:, step], worst(errors[:, step])) for step in range(errors.shape[1])]
    return torch.stack([binary_auroc(score.flatten(), worst(errors).flatten()), torch.stack(each).mean()])


def size(expected: Tensor, errors: Tensor) -> Tensor:
    """How large the expected errors are, in parts of those that were made."""
    return (expected.square().mean() / errors.square().mean()).sqrt()[None]


def bounded(figures: Callable[[Tensor, Tensor], Tensor], scores: Tensor, errors: Tensor) -> list[list[float]]:
    """Figures (F,) of scores and errors (S, E, K), means over S seeds, and intervals over seeds and episodes."""
    generator = torch.Generator().manual_seed(0)
    seeds, episodes = range(errors.shape[0]), torch.arange(errors.shape[1])

    def mean(rows: Sequence[int], columns: Tensor) -> Tensor:
        return torch.stack([figures(scores[row, columns], errors[row, columns]) for row in rows]).mean(dim=0)

    draws = []
    for _ in range(DRAWS):  # one that is hard is so for all seeds: a draw takes the same episodes for each
        rows = torch.randint(len(seeds), (len(seeds),), generator=generator).tolist()
        draws.append(mean(rows, torch.randint(len(episodes), (len(episodes),), generator=generator)))
    return [
        [round(float(value), 3) for value in (own, *interval(drawn))]
        for own, drawn in zip(mean(seeds, episodes), torch.stack(draws).T, strict=True)
    ]


def tables(found: dict[str, dict[str, list[list[float]]]]) -> str:
    """Markdown of figures, means and intervals, by episodes and what expects errors: over all steps, and within."""
    parts = []
    for at, title in enumerate(("Over all steps", "Within a step")):
        rows = {
            episodes: {
                name: "{:.2f} [{:.2f}, {:.2f}]".format(*each[at]) for name, each in own.items() if at < len(each)
            }
            for episodes, own in found.items()
        }
        parts.append(f"{title}:\n\n{markdown('episodes', rows)}")
    return "\n\n".join(parts)


def main() -> None:
    """Train, imagine, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/drift"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    found = {}
    for world in WORLDS:
        runs = [train(arguments.out, world, "varied", "ensemble", seed) for seed in arguments.seeds]
        models = [WorldModel.from_pretrained(run) for run in runs]
        for kind, name in (("varied", "factors as trained"), ("shifted", "held-out factors")):
            each = [scored(model, collect(arguments.out, world, kind)) for model in models]
            scores = {key: torch.stack([one[key] for one in each]) for key in each[0]}
            made = scores.pop("made")
            told = {key: bounded(auroc, score, made) for key, score in scores.items()}
            found[f"{world}, {name}"] = told | {SIZE: bounded(size, scores["expected error"], made)}
    text = f"AUROC of the worst tenth; asked: {ASKED}. Means of {len(arguments.seeds)} seeds, and 95 % intervals."
    replace_section(RESULTS, "uncertainty", f"{text}\n\n{tables(found)}\n\n{machine()}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
