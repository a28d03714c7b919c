import pytest
import torch
from torch.nn import functional as F

from jepa_wm.errors import UserError
from probes.retrieval import cross_modal, recall_at_k, retrieve


def pairs(n, captions, noise, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 8, generator=generator)
    ids = torch.arange(n)
    text_ids = ids.repeat(captions)
    texts = images[text_ids] + noise * torch.randn(n * captions, 8, generator=generator)
    return images, texts, ids, text_ids


def test_both_ways_are_brute_force():
    images, texts, image_ids, text_ids = pairs(40, 3, 1.5)
    found = cross_modal(images, texts, image_ids, text_ids)
    cosine = F.normalize(images.double(), dim=1) @ F.normalize(texts.double(), dim=1).T
    ways = ((found.image_to_text, cosine, image_ids, text_ids), (found.text_to_image, cosine.T, text_ids, image_ids))
    for way, similarity, own, other in ways:
        ranks = []
        for row, mine in zip(similarity, own, strict=True):
            order = other[row.argsort(descending=True)]
            ranks.append((order == mine).nonzero()[0, 0].item() + 1)
        for k, score in way.recall.items():
            assert score.value == pytest.approx(sum(rank <= k for rank in ranks) / len(ranks))
            assert score.n == len(ranks) and score.interval[0] < score.value < score.interval[1]
        assert way.median_rank.value == torch.tensor(ranks).median().item()
        assert way.median_rank.interval[0] <= way.median_rank.value <= way.median_rank.interval[1]
    # Recall agrees with the one that is given what is relevant.
    relevant = image_ids[:, None] == text_ids
    assert found.image_to_text.recall[5][:2] == recall_at_k(images, texts, relevant, 5)[:2]


def test_chance_is_that_of_random_embeddings():
    images, _, image_ids, text_ids = pairs(600, 2, 0.0)
    texts = torch.randn(1200, 8, generator=torch.Generator().manual_seed(5))
    found = cross_modal(images, texts, image_ids, text_ids, (1, 60))
    # One relevant of 600 is expected at 300.5, the first of two of 1200 at 400.33.
    assert found.text_to_image.median_rank.null == 300.5
    assert found.image_to_text.median_rank.null == pytest.approx(1201 / 3)
    assert found.text_to_image.recall[60].null == pytest.approx(0.1)
    assert found.text_to_image.recall[60].value == pytest.approx(0.1, abs=0.05)
    assert found.text_to_image.median_rank.value == pytest.approx(300, abs=40)


def test_what_is_the_same_for_all_finds_nothing():
    ids = torch.arange(30)
    found = retrieve(torch.ones(30, 4), torch.ones(30, 4), ids, ids)
    assert found.recall[10].value == 0.0 and found.median_rank.value == 30


def test_captions_of_one_image_are_one_group():
    images, texts, image_ids, text_ids = pairs(60, 1, 1.5)
    once = retrieve(texts, images, text_ids, image_ids).recall[1]
    copies = retrieve(texts.repeat(9, 1), images, text_ids.repeat(9), image_ids).recall[1]
    width = [score.interval[1] - score.interval[0] for score in (once, copies)]
    assert copies.value == once.value and 0.8 < width[1] / width[0] < 1.3


def test_bad_input_is_refused():
    ids = torch.arange(3)
    with pytest.raises(UserError, match="query 2 has no relevant row"):
        retrieve(torch.eye(3), torch.eye(3), ids, torch.tensor([0, 1, 1]), (1,))
    with pytest.raises(UserError, match="from 1 to the 3 rows"):
        retrieve(torch.eye(3), torch.eye(3), ids, ids)
    with pytest.raises(UserError, match="ids of gallery"):
        retrieve(torch.eye(3), torch.eye(3), ids, ids[:2])
