"""What the latents of held-out frames know, by probes that take a moment."""

import torch
from torch import Tensor

from pretrain.callbacks.held_out import HeldOut
from probes.knn import knn_classify, knn_regress
from probes.linear import ridge_classifier, ridge_probe

LEAST = 8
"""Samples without which there is nothing to train and test a probe on."""


def knowledge(latents: Tensor, held_out: HeldOut) -> dict[str, float]:
    """Probe latents (n, D) by a linear probe and by kNN: R² of what is measured, accuracy of what is one of several.

    Half of the samples train, a quarter chooses the penalty, a quarter tests. What does not vary is left out.
    """
    parts = _split(held_out.sample)
    if parts is None or not (latents != latents[0]).any():
        return {}
    train, _, test = parts
    groups, k = held_out.sample[torch.cat(parts)], min(20, len(train))
    found: dict[str, float] = {}
    for name, y in held_out.numbers.items():
        varies = torch.stack([(y[part] != y[part][0]).any(dim=0) for part in parts]).all(dim=0)
        if varies.any():
            train_xy, val_xy, test_xy = ((latents[part], y[part][:, varies]) for part in parts)
            found[f"{name}_r2"] = ridge_probe(train_xy, val_xy, test_xy, groups).r2.value
            found[f"{name}_knn_r2"] = knn_regress(*train_xy, *test_xy, k)
    for name, y in held_out.labels.items():
        if len(y[train].unique()) > 1:
            train_xy, val_xy, test_xy = ((latents[part], y[part]) for part in parts)
            found[f"{name}_linear"] = ridge_classifier(train_xy, val_xy, test_xy, groups).value
            found[f"{name}_knn"] = knn_classify(latents[train], y[train], latents[test], y[test], k).value
    return found


def _split(sample: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Rows to train, to choose and to test by, whole samples each; None if there are too few."""
    numbers, own = sample.unique(return_inverse=True)
    if len(numbers) < LEAST:
        return None
    # Samples may be stored class by class, so each part takes its own from all over them.
    place = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))[own] * 4 // len(numbers)
    train, val, test = (torch.isin(place, torch.tensor(quarters)).nonzero()[:, 0] for quarters in ([0, 1], [2], [3]))
    return train, val, test
