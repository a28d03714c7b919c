"""What each checkpoint knows, and how healthy it is: what stands beside alignment."""

from collections.abc import Iterator

import torch
from torch import Tensor

from probes.convergence.left_out import LeftOut
from probes.convergence.members import Member
from probes.convergence.table import Row
from probes.heads.outcome import check_labels
from probes.health import participation_ratio, rankme
from probes.health.spectrum import eigenvalues
from probes.linear import ridge_classifier, ridge_probe
from probes.store import FeatureStore, titled
from probes.targets import targets

SPECTRUM = 64
"""Eigenvalues that are kept of a spectrum."""


def probed(features: dict[str, Tensor], store: FeatureStore, member: Member, layer: str, seed: int) -> Iterator[Row]:
    """What is read off one layer's features by split, on held-out episodes or images.

    R² of the position and of every factor that varies, and accuracy of the labels, as far as there are any.
    """
    rows = {split: store.rows(split) for split in features}
    groups = torch.cat([part.episode for part in rows.values()])
    for name, target in targets(rows).items():
        train, val, test = ((features[split], target[split]) for split in rows)
        value, null, (low, high), n = ridge_probe(train, val, test, groups, seed).r2
        yield _row("probe", name, member, layer)._replace(value=value, null=null, low=low, high=high, n=n)
    labels = [part.labels for part in rows.values() if part.labels is not None]
    if len(labels) == len(rows):
        train, val, test = zip(features.values(), labels, strict=True)
        check_labels(*labels)
        value, null, (low, high), n = ridge_classifier(train, val, test, groups)
        yield _row("probe", "labels", member, layer)._replace(value=value, null=null, low=low, high=high, n=n)


def healthy(x: Tensor, member: Member, layer: str) -> Iterator[Row]:
    """Effective ranks of one layer's latents x (n, d) of held-out frames, and the spectrum that they sum up."""
    for name, value in {"rankme": rankme(x), "participation_ratio": participation_ratio(x)}.items():
        yield _row("health", name, member, layer)._replace(value=value, n=len(x))
    for rank, value in enumerate(_spectrum(x)[:SPECTRUM].tolist(), 1):
        yield _row("spectrum", "eigenvalue", member, layer)._replace(value=value, rank=rank, n=len(x))


def known(
    store: FeatureStore, found: dict[str, list[Member]], pooling: str, seed: int, left_out: LeftOut
) -> Iterator[Row]:
    """The last layer of every checkpoint, and every layer of the last one.

    Args:
        store: where the features are.
        found: the checkpoints of each model.
        pooling: of a layer's tokens.
        seed: of nulls and intervals.
        left_out: notes the layers that a probe refuses.
    """
    for checkpoints in found.values():
        for member in checkpoints:
            layers = store.layers(member.model, member.step, pooling)
            for layer in layers if member == checkpoints[-1] else layers[-1:]:
                features = {
                    split: store.features(member.model, member.step, layer, pooling, split)
                    for split in ("train", "val", "test")
                }
                with left_out.noted(f"probes of layer {layer} of {titled(member.model, member.step)}"):
                    yield from probed(features, store, member, layer, seed)
                yield from healthy(features["test"], member, layer)


def _row(kind: str, metric: str, member: Member, layer: str) -> Row:
    return Row(kind, metric, member.model, member.step, member.share, layer)


def _spectrum(x: Tensor) -> Tensor:
    """Eigenvalues of the covariance of x (n, d), as shares of their sum, the greatest first."""
    values = eigenvalues(x, least=1)
    return values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
