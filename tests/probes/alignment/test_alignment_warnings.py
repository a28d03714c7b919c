"""Each warning appears where its cause is, with the right number, and nowhere else."""

import re

import pytest
import torch

from probes.alignment.warnings import warnings_of, warnings_of_search


def plain(n=400, d=12):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


def few_rows(x):
    return x[:119]


def outlier(x):
    return x * torch.ones(12).index_fill(0, torch.tensor(7), 6)


def narrow(x):
    return x[:, :1] * torch.ones(12) + 0.1 * x


def copies(x):
    return x.index_copy(0, torch.arange(5), x[100:105])


def hub(_):
    # In many dimensions the row that points where all do on average is nearer to each than they are to each other.
    return (plain(700, 60) + 3).index_fill(0, torch.tensor(3), 3)


CAUSES = {
    few_rows: "119 rows for 12 dimensions .* use 120 rows",
    outlier: "dimension 7 holds 7[0-9]% of the variance",
    narrow: r"participation ratio 1\.[0-9] of 12",
    copies: "5 of 400 rows are copies",
    hub: "a row is among the 10 nearest of [0-9]{3} others",
}


def test_features_in_order_are_not_warned_of():
    assert warnings_of("layer 3", plain(), 10) == []


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_said_with_its_number(cause):
    (said,) = warnings_of("layer 3", cause(plain()), 10)
    assert re.match(f"layer 3: {CAUSES[cause]}", said)


def test_large_k_is_warned_of():
    assert warnings_of("a", plain(), 41) == [
        "a: k 41 is 10% of 400 rows, and chance alone agrees on 10%; lower k or add rows"
    ]


def test_searches_are_warned_of():
    assert warnings_of_search(1, 200) == []
    said = warnings_of_search(325, 19)
    assert "best of up to 325 layer pairs" in said[0] and "p below 0.05" in said[1] and "use 200" in said[1]
    assert warnings_of_search(1, 200, comparisons=10) == []
    (said,) = warnings_of_search(1, 200, comparisons=45)
    # Holm multiplies the smallest p, 1 / 201, by the number of pairs.
    assert "p of 45 pairs of models, by Holm, below 0.224" in said and "use 1800" in said


def test_a_collapsed_layer_is_said_and_no_failure():
    assert warnings_of("a", torch.ones(50, 3), 10) == ["a: all rows are the same; check the checkpoint"]
