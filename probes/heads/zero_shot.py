"""Classification by text alone: each class is the mean of the sentences that name it."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.contracts import Score
from jepa_wm.errors import UserError
from jepa_wm.statistics import rate_interval
from probes.checks import check_rows
from probes.statistics import interval, resample_groups


class ZeroShot(NamedTuple):
    """How well text names what images show.

    Attributes:
        top1: share of images whose class is the nearest; its null is the share of the most frequent class.
        top5: share of images whose class is among the five nearest, or fewer where there are fewer classes; its null
            is the share of the five most frequent.
        recall: share of a class's images that are found, averaged over classes; its null is 1 / C, what any constant
            answer has.
    """

    top1: Score
    top5: Score
    recall: Score


def class_vectors(sentences: Tensor) -> Tensor:
    """Embeddings (C, S, D) of S sentences for each class -> one unit vector each (C, D).

    Each sentence counts as much as another, whatever its embedding's length, and each class.

    Raises:
        UserError: sentences have another shape, or a value is not finite.

    Source: CLIP (arXiv 2103.00020), prompt ensembles.
    """
    if sentences.ndim != 3:
        raise UserError(f"sentences: got shape {tuple(sentences.shape)}, expected (C, S, D): S sentences a class")
    check_rows("sentences", sentences.flatten(0, 1))
    return F.normalize(F.normalize(sentences.double(), dim=-1).mean(dim=1), dim=-1)


def zero_shot(images: Tensor, labels: Tensor, classes: Tensor, groups: Tensor | None = None, seed: int = 0) -> ZeroShot:
    """Classify images by the cosine of their embeddings with those of the classes.

    Args:
        images: embeddings (n, D).
        labels: classes (n,), integers from 0.
        classes: vectors (C, D), as of `class_vectors`.
        groups: episode (n,) of every image; None: each its own.
        seed: of the resampling.

    Raises:
        UserError: shapes differ, a value is not finite, a label names no class, or there is one class only.

    Source: the three measures of CLIP_benchmark (official code).
    """
    _check(images, labels, classes)
    groups = torch.arange(len(images)) if groups is None else groups
    number, labels = len(classes), labels.long()
    cosine = F.normalize(images.double(), dim=-1) @ F.normalize(classes.double(), dim=-1).T
    near = cosine.topk(min(5, number), dim=1).indices == labels[:, None]
    frequent = labels.bincount(minlength=number).sort(descending=True).values / len(labels)

    def share(k: int) -> Score:
        hits = near[:, :k].any(dim=1).double()
        around = rate_interval(hits.numpy(), groups.numpy())
        return Score(hits.mean().item(), frequent[:k].sum().item(), around, len(hits))

    # Class by class: how often it is there, and how often it is found there.
    there = F.one_hot(labels, number).double()
    rows = torch.cat([there, there * near[:, :1]], dim=1)
    drawn = resample_groups(rows, groups, torch.Generator().manual_seed(seed))
    top1, right = share(1), near[:, 0]
    # A bootstrap of answers that are all right, or all wrong, would claim to know the rate exactly.
    around = interval(_recall(drawn)) if right.any() and not right.all() else top1.interval
    return ZeroShot(top1, share(5), Score(_recall(rows.sum(dim=0)).item(), 1 / number, around, len(labels)))


def _recall(sums: Tensor) -> Tensor:
    """Mean recall (...) of the classes that are there, of counts and hits of C classes (..., 2 C)."""
    count, hits = sums.chunk(2, dim=-1)
    there = count > 0
    return (hits / count.clamp(min=1)).sum(dim=-1) / there.sum(dim=-1)


def _check(images: Tensor, labels: Tensor, classes: Tensor) -> None:
    check_rows("images", images)
    check_rows("classes", classes)
    if images.shape[1] != classes.shape[1]:
        raise UserError(f"images are {images.shape[1]} wide and classes {classes.shape[1]}; expected the same width")
    if len(classes) < 2:
        raise UserError("classes: got one only; there is nothing to tell apart")
    if labels.shape != (len(images),) or labels.is_floating_point():
        raise UserError(f"labels: got {labels.dtype} {tuple(labels.shape)}, expected integers ({len(images)},)")
    if int(labels.min()) < 0 or int(labels.max()) >= len(classes):
        wrong = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
        raise UserError(f"labels: got {wrong}, expected classes from 0 to {len(classes) - 1}")
