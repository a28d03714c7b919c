"""Masks: exact counts, no place favoured, every row and column within reach."""

import math
import random
import statistics
from collections import Counter

import pytest
import torch
from torch import Tensor

from jepa_wm.data.masks import BlockwiseMask, MultiBlockMask, TubeMask
from jepa_wm.data.rectangles import mean_union
from jepa_wm.errors import UserError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coverage(index: Tensor, height: int, width: int) -> Tensor:
    """How often each cell is in an index (B, M), as a rate over samples."""
    return torch.bincount(index.flatten(), minlength=height * width).reshape(height, width) / len(index)


def is_symmetric(rate: Tensor, samples: int, deviations: float = 5.0) -> bool:
    """Whether a coverage is that of its mirror images, within sampling error."""
    spread = deviations * (rate * (1 - rate) / samples).sqrt() * math.sqrt(2) + 1e-9
    flips = (rate.flip(0), rate.flip(1), rate.flip(0, 1))
    return all(bool(((rate - flipped).abs() < spread.maximum(spread.flip(0))).all()) for flipped in flips)


def published_side(cells: int, scale: tuple[float, float], aspect: tuple[float, float], u: float) -> tuple[int, int]:
    """Height and width of a rectangle in I-JEPA (official code), of one uniform random number."""
    area, ratio = int(cells * (scale[0] + u * (scale[1] - scale[0]))), aspect[0] + u * (aspect[1] - aspect[0])
    return round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))


def covered(blocks: int, scale: float, aspect: tuple[float, float], grid: tuple[int, int], seed: int) -> set[int]:
    """Cells under rectangles that are drawn one by one, as in V-JEPA's code but that each has its own aspect."""
    dice, (height, width), cells = random.Random(seed), grid, set()
    for _ in range(blocks):
        area, ratio = int(scale * height * width), dice.uniform(*aspect)
        rows, columns = min(round(math.sqrt(area * ratio)), height), min(round(math.sqrt(area / ratio)), width)
        top, left = dice.randrange(height - rows + 1), dice.randrange(width - columns + 1)
        cells |= {y * width + x for y in range(top, top + rows) for x in range(left, left + columns)}
    return cells


def places_one_by_one(
    target: tuple[int, int], context: tuple[int, int], count: int, side: int, dice: random.Random
) -> tuple[set[int], set[int]]:
    """What a context has left, and its last target, drawn as in I-JEPA's code but that all rows are within reach."""

    def rectangle(rows: int, columns: int) -> set[int]:
        top, left = dice.randrange(side - rows + 1), dice.randrange(side - columns + 1)
        return {y * side + x for y in range(top, top + rows) for x in range(left, left + columns)}

    targets = [rectangle(*target) for _ in range(count)]
    return rectangle(*context) - set().union(*targets), targets[-1]


def left_in_the_reference(side: int, seed: int, number: int) -> int:
    """Cells left to sample `number` of a batch, whose sizes are those of its seed."""
    sizes, dice = generator(seed), random.Random(seed * 1000 + number)
    target = published_side(side**2, (0.15, 0.2), (0.75, 1.5), torch.rand((), generator=sizes).item())
    context = published_side(side**2, (0.85, 1.0), (1.0, 1.0), torch.rand((), generator=sizes).item())
    for _ in range(100):
        left, _ = places_one_by_one(target, context, 4, side, dice)
        if len(left) > 4:
            break
    return len(left)


class TestTubes:
    def test_they_part_the_tokens_alike_in_every_frame_and_sample(self) -> None:
        mask = TubeMask(8, 0.15).sample((3, 6, 5), 50, generator())
        hidden = mask.predict.shape[2] // 3
        both = torch.cat([mask.keep, mask.predict[:, 0]], dim=1).sort(dim=1).values
        assert torch.equal(both, torch.arange(90).expand(50, -1))
        frames = mask.predict.unflatten(2, (3, hidden))[:, 0]
        torch.testing.assert_close(frames - torch.arange(3)[:, None] * 30, frames[:, :1].expand(-1, 3, -1))

    @pytest.mark.parametrize(("blocks", "scale"), [(8, 0.15), (2, 0.7), (3, 0.05)])
    @pytest.mark.parametrize(("height", "width"), [(16, 16), (7, 5)])
    def test_they_hide_as_many_as_rectangles_drawn_one_by_one_cover(
        self, blocks: int, scale: float, height: int, width: int
    ) -> None:
        sizes = [len(covered(blocks, scale, (0.75, 1.5), (height, width), seed)) for seed in range(1500)]
        mean, spread = statistics.mean(sizes), statistics.stdev(sizes) / math.sqrt(len(sizes))
        count = TubeMask(blocks, scale).sample((1, height, width), 1, generator()).predict.shape[2]
        assert abs(mean_union(blocks, int(scale * height * width), (0.75, 1.5), height, width) - mean) < 5 * spread
        assert abs(count - mean) < 0.5 + 5 * spread

    def test_one_aspect_and_no_random_place_leave_nothing_to_chance(self) -> None:
        # One square of 3 x 3 of 4 x 4; two of them overlap in 9, 6 or 4 cells, in 4, 8 and 4 of 16 pairs of places.
        assert mean_union(1, 9, (1.0, 1.0), 4, 4) == pytest.approx(9)
        assert mean_union(2, 9, (1.0, 1.0), 4, 4) == pytest.approx(18 - (4 * 9 + 8 * 6 + 4 * 4) / 16)
        assert mean_union(5, 16, (1.0, 1.0), 4, 4) == pytest.approx(16)

    def test_neighbours_are_hidden_together_as_often_as_under_rectangles_drawn_one_by_one(self) -> None:
        """Tall rectangles outnumber wide ones, as the aspect is uniform."""
        samples, (height, width), aspect = 1500, (8, 8), (0.3, 4.0)
        mask = TubeMask(2, 0.25, aspect).sample((1, height, width), samples, generator())
        found = torch.zeros(samples, height * width).scatter_(1, mask.predict[:, 0], 1.0)
        drawn = torch.zeros(samples, height * width)
        for seed in range(samples):
            cells, dice = covered(2, 0.25, aspect, (height, width), seed), random.Random(-seed - 1)
            others = [cell for cell in range(height * width) if cell not in cells]
            count = mask.predict.shape[2]
            few = dice.sample(sorted(cells), min(count, len(cells)))
            drawn[seed, few + dice.sample(others, count - len(few))] = 1.0
        for one, other in (("tall", lambda x: x[:, 1:] * x[:, :-1]), ("wide", lambda x: x[..., 1:] * x[..., :-1])):
            ours, theirs = (other(x.view(-1, height, width)).sum(dim=(1, 2)) for x in (found, drawn))
            error = ((ours.var() + theirs.var()) / samples).sqrt()
            assert abs(ours.mean() - theirs.mean()) < 4 * error, one

    @pytest.mark.parametrize(("blocks", "scale"), [(8, 0.15), (2, 0.7), (1, 0.3)])
    def test_they_favour_no_side_and_reach_every_cell(self, blocks: int, scale: float) -> None:
        count = 6000
        mask = TubeMask(blocks, scale).sample((1, 6, 6), count, generator())
        rate = coverage(mask.predict[:, 0], 6, 6)
        assert is_symmetric(rate, count)
        assert (rate > 0.05).all() and (rate < 0.999).all()


class TestMultiBlocks:
    def test_targets_are_rectangles_of_one_size_that_the_context_does_not_touch(self) -> None:
        for seed in range(20):
            mask = MultiBlockMask().sample((1, 14, 12), 8, generator(seed))
            for sample in range(8):
                sizes = set()
                for target in mask.predict[sample]:
                    rows, columns = target // 12, target % 12
                    height, width = (int(axis.max() - axis.min()) + 1 for axis in (rows, columns))
                    assert height * width == len(set(target.tolist())) == mask.predict.shape[2]
                    sizes.add((height, width))
                assert len(sizes) == 1 and 0.1 < mask.predict.shape[2] / 168 < 0.25
                assert not set(mask.keep[sample].tolist()) & set(mask.predict[sample].flatten().tolist())
                assert len(set(mask.keep[sample].tolist())) == mask.keep.shape[1] > 10

    def test_sizes_come_as_often_as_from_one_number_for_area_and_aspect(self) -> None:
        rounds, fine = 600, 4000
        expected = Counter(published_side(196, (0.15, 0.2), (0.75, 1.5), (step + 0.5) / fine) for step in range(fine))
        found: Counter[tuple[int, int]] = Counter()
        for seed in range(rounds):
            target = MultiBlockMask().sample((1, 14, 14), 1, generator(seed)).predict[0, 0]
            rows, columns = target // 14, target % 14
            found[(len(rows.unique()), len(columns.unique()))] += 1
        assert found.keys() <= expected.keys()
        for side, count in expected.items():
            rate = count / fine
            assert abs(found[side] / rounds - rate) < 5 * math.sqrt(rate * (1 - rate) / rounds), side

    def test_a_clip_gets_tubes(self) -> None:
        mask = MultiBlockMask().sample((2, 14, 14), 3, generator())
        assert torch.equal(mask.keep[:, mask.keep.shape[1] // 2 :], mask.keep[:, : mask.keep.shape[1] // 2] + 196)
        first, second = mask.predict.unflatten(2, (2, -1)).unbind(2)
        assert torch.equal(second, first + 196)

    def test_context_and_targets_favour_no_side_and_reach_every_row_and_column(self) -> None:
        contexts, targets = torch.zeros(7, 7), torch.zeros(7, 7)
        rounds, size = 400, 16
        for seed in range(rounds):
            mask = MultiBlockMask(least=4).sample((1, 7, 7), size, generator(seed))
            contexts += coverage(mask.keep, 7, 7) / rounds
            targets += coverage(mask.predict[:, 0], 7, 7) / rounds
        assert is_symmetric(targets, rounds * size) and is_symmetric(contexts, rounds * size)
        assert (contexts > 0.02).all() and (targets > 0.005).all()

    @pytest.mark.parametrize("side", [14, 8])
    def test_as_many_are_seen_whatever_the_batch_and_as_many_as_of_128_in_the_reference(self, side: int) -> None:
        ours, theirs = [], []
        for seed in range(25):
            few, more, most = (
                MultiBlockMask(least=4).sample((1, side, side), batch, generator(seed)).keep.shape[1]
                for batch in (1, 16, 300)
            )
            assert few == more == most
            ours.append(few)
            theirs.append(min(left_in_the_reference(side, seed, number) for number in range(128)))
        differences = [mine - other for mine, other in zip(ours, theirs, strict=True)]
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        assert abs(statistics.mean(differences)) < 4 * error and error < 0.02 * statistics.mean(theirs)

    def test_that_the_poorest_are_drawn_again_is_not_to_be_seen_in_what_is_covered(self) -> None:
        """Against all samples, poor ones included, of each of which random tokens are seen at that rate."""
        fixed = MultiBlockMask(scale=(0.17, 0.17), aspect=(1.2, 1.2), context=(0.85, 0.85))
        samples, side = 4000, 14
        mask = fixed.sample((1, side, side), samples, generator())
        count, poor = mask.keep.shape[1], 0
        rate, targets = torch.zeros(2, side * side)
        for seed in range(samples):
            left, hidden = places_one_by_one((6, 5), (13, 13), 4, side, random.Random(seed))
            poor += len(left) < count
            rate[sorted(left)] += min(1.0, count / len(left)) / samples
            targets[sorted(hidden)] += 1.0 / samples
        assert 0.001 < poor / samples < 0.02
        for found, expected in ((mask.keep, rate), (mask.predict[:, 0], targets)):
            spread = (2 * expected * (1 - expected) / samples).sqrt()
            apart = coverage(found, side, side).flatten() - expected
            assert (apart.abs() < 4.5 * spread + 0.01 * expected).all()

    def test_the_reference_that_cuts_lists_would_be_seen_to_favour_the_top_left(self) -> None:
        """What the published collator does to the kept tokens, as a check of the check."""
        torch.manual_seed(0)
        kept = torch.rand(3000, 36) < 0.6
        least = int(kept.sum(dim=1).min())
        cut = torch.stack([row.nonzero()[:least, 0] for row in kept])
        assert not is_symmetric(coverage(cut, 6, 6), 3000)

    def test_a_crowded_grid_still_has_a_context(self) -> None:
        mask = MultiBlockMask(targets=8, scale=(0.4, 0.5), least=3).sample((1, 5, 5), 64, generator())
        assert mask.keep.shape[1] > 3
        with pytest.raises(UserError, match="no context of more than 10"):
            MultiBlockMask().sample((1, 3, 3), 4, generator())


class TestBlockwise:
    def test_half_the_samples_are_hidden_by_exact_shares_spread_over_the_range(self) -> None:
        hidden = BlockwiseMask().draw((1, 14, 14), 40, generator())
        counts = hidden.sum(dim=1)
        masked = counts[counts > 0].sort().values
        assert len(masked) == 20
        edges = torch.linspace(0.1, 0.5, 21) * 196
        assert ((masked >= edges[:-1].round() - 1) & (masked <= edges[1:].round() + 1)).all()

    def test_hidden_tokens_stick_together_and_favour_no_side(self) -> None:
        hidden = torch.cat([BlockwiseMask(1.0).draw((1, 8, 8), 64, generator(seed)) for seed in range(100)])
        rate = hidden.float().mean(dim=0).reshape(8, 8)
        assert is_symmetric(rate, len(hidden)) and (rate > 0.05).all()
        cells = hidden.reshape(-1, 8, 8).float()
        neighbours = (cells[:, 1:] * cells[:, :-1]).sum() / (cells[:, 1:].sum())
        # Were single tokens drawn, a hidden token's neighbour would be hidden as often as any.
        assert neighbours > 1.6 * rate.mean()

    def test_a_clip_is_hidden_by_tubes(self) -> None:
        hidden = BlockwiseMask(1.0).draw((3, 6, 6), 4, generator()).reshape(4, 3, 36)
        assert torch.equal(hidden[:, 0], hidden[:, 1]) and torch.equal(hidden[:, 0], hidden[:, 2])
