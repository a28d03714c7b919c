"""An attentive classifier on tokens: what a mean over them would drown."""

import math
from copy import deepcopy
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jepa_wm.encoders.blocks import ACTIVATIONS, BlockOptions, Blocks, Mlp, attend, initialise
from jepa_wm.encoders.linear import Linear
from jepa_wm.errors import UserError
from jepa_wm.schedules import Cosine
from probes.heads.outcome import Trained, accuracy, check_labels
from probes.linear import Split, check_splits, standardise


class Attentive(NamedTuple):
    """What the heads are, and how they are trained: one for each rate and decay, all on the same batches.

    Attributes:
        depth: of the head: `depth` - 1 blocks of self-attention, and the query's.
        heads: attention heads of each block.
        rates: learning rates at first; they fall to 0.
        decays: weight decays; they stay.
        epochs: passes over the training split.
        batch: samples a step.
        seeds: of the first weights and of the order of samples, for one training of all heads each.
    """

    depth: int = 4
    heads: int = 16
    rates: tuple[float, ...] = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4)
    decays: tuple[float, ...] = (0.01, 0.1, 0.4, 0.8)
    epochs: int = 20
    batch: int = 256
    seeds: tuple[int, ...] = (0, 1, 2)


class AttentiveHead(nn.Module):
    """Blocks of self-attention over the tokens, a learned query that attends to what they make of them, and logits.

    Args:
        dim: width D of the tokens.
        classes: C.
        depth: `depth` - 1 blocks, and the query's.
        heads: attention heads of each.

    Source: V-JEPA 2 (arXiv 2506.09985), official code: the query's attention has no projection after it, and its
    MLP's last weights are divided as those of the block before are.
    """

    def __init__(self, dim: int, classes: int, depth: int = 4, heads: int = 16) -> None:
        super().__init__()
        options = BlockOptions(eps=1e-5)
        self.heads = heads
        self.blocks = Blocks(dim, depth - 1, heads, options)
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dim), std=0.02))
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=options.eps), nn.LayerNorm(dim, eps=options.eps)
        self.q, self.kv = Linear(dim, dim), Linear(dim, 2 * dim)
        self.mlp = Mlp(dim, round(dim * options.mlp_ratio), ACTIVATIONS[options.mlp]())
        self.logits = nn.Linear(dim, classes)
        for part in (self.q, self.kv, self.mlp, self.logits):
            initialise(part)
        with torch.no_grad():
            self.mlp.fc2.weight.div_(math.sqrt(2 * max(depth - 1, 1)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) -> logits (B, C)."""
        if len(self.blocks):
            tokens = self.blocks(tokens)[-1]
        query = self.query.expand(len(tokens), -1, -1)
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q(query), *self.kv(self.norm1(tokens)).chunk(2, dim=-1))
        )
        query = query + attend(q, k, v).transpose(1, 2).flatten(2)
        return self.logits((query + self.mlp(self.norm2(query)))[:, 0])


def attentive_probe(
    train: Split, val: Split, test: Split, groups: Tensor | None = None, recipe: Attentive | None = None
) -> Trained:
    """Accuracy of attentive classifiers on tokens, the learning rate and the weight decay chosen on `val`.

    Args:
        train, val, test: tokens (n, N, D), and integer labels (n,) from 0.
        groups: episode (n_train + n_val + n_test,) of every sample, in this order; None: each its own.
        recipe: what the heads are, and how they are trained.

    Raises:
        UserError: shapes differ, a token is not finite, the heads do not divide D, splits share an episode, or one
            lacks a class.

    Source: V-JEPA 2 (arXiv 2506.09985), official code: its twenty heads for videos, AdamW with the decay on all
    weights, cosine to 0. Here tokens are cached, without augmentation, and standardised channel by channel; and the
    best head is chosen on `val`, where the reference reports the best on what is tested.
    """
    recipe = recipe or Attentive()
    _check_tokens((train, val, test), recipe)
    flat_train, flat_val, flat_test = ((x.flatten(1), y) for x, y in (train, val, test))
    test_groups = check_splits(flat_train, flat_val, flat_test, groups)[1]
    classes = check_labels(train[1], val[1], test[1])
    labels = [train[1].long(), val[1].long(), test[1].long()]
    dim = train[0].shape[-1]
    parts = standardise(*(x.reshape(-1, dim) for x, _ in (train, val, test)))
    x, val_x, test_x = (
        part.float().view(split[0].shape) for part, split in zip(parts, (train, val, test), strict=True)
    )
    trained = [_train(x, labels[0], classes, recipe, seed) for seed in recipe.seeds]
    guessed, predicted = (
        torch.stack([torch.stack([_classes(head, tokens, recipe.batch) for head in heads]) for heads in trained])
        for tokens in (val_x, test_x)
    )
    grid = [{"rate": rate, "decay": decay} for rate, decay in product(recipe.rates, recipe.decays)]
    return accuracy(guessed, predicted, labels, grid, test_groups)


def _train(x: Tensor, y: Tensor, classes: int, recipe: Attentive, seed: int) -> list[AttentiveHead]:
    """One head for each rate and decay; all begin with the same weights and see the same batches."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first = AttentiveHead(x.shape[-1], classes, recipe.depth, recipe.heads)
    grid = list(product(recipe.rates, recipe.decays))
    heads = [deepcopy(first) for _ in grid]
    optimisers = [
        torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=decay)
        for head, (rate, decay) in zip(heads, grid, strict=True)
    ]
    generator = torch.Generator().manual_seed(seed)
    batch = min(recipe.batch, len(x))
    steps, step, fall = recipe.epochs * (len(x) // batch), 0, Cosine(1.0, 0.0)
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(x), generator=generator)[: len(x) // batch * batch].view(-1, batch):
            tokens, answers = x[rows], y[rows]
            for head, optimiser, (rate, _) in zip(heads, optimisers, grid, strict=True):
                optimiser.param_groups[0]["lr"] = rate * fall(step / steps)
                optimiser.zero_grad()
                F.cross_entropy(head(tokens), answers).backward()
                optimiser.step()
            step += 1
    return heads


@torch.no_grad()
def _classes(head: AttentiveHead, tokens: Tensor, batch: int) -> Tensor:
    return torch.cat([head(part).argmax(dim=-1) for part in tokens.split(batch)])


def _check_tokens(splits: tuple[Split, Split, Split], recipe: Attentive) -> None:
    shapes = [tuple(x.shape) for x, _ in splits]
    if any(len(shape) != 3 or shape[1:] != shapes[0][1:] for shape in shapes):
        raise UserError(f"tokens: got shapes {shapes}; expected (n, N, D) with the same N and D in every split")
    if shapes[0][2] % recipe.heads or recipe.depth < 1:
        raise UserError(
            f"Attentive: got {recipe.heads} heads and depth {recipe.depth} for tokens of width {shapes[0][2]}; "
            "expected heads that divide the width, and a depth of at least 1"
        )
