"""The plane: discs never enter walls, mirrored worlds give mirrored paths, distances agree with a grid search."""

import heapq

import numpy as np
import pytest

from jepa_wm.envs.factors import FACTORS, default_values
from jepa_wm.envs.geometry import (
    BORDER,
    SUCCESS_DISTANCE,
    TOLERANCE,
    distance,
    gaps,
    geometry,
    move,
    overlap,
    path_distance,
    success,
)
from jepa_wm.envs.vector import sample_start


def random_values(count, seed):
    """Values over all that is allowed, each factor from its sampled or its held-out set."""
    rng = np.random.default_rng(seed)
    drawn = [
        {name: factor.draw(rng.choice(["sample", "held_out"]), rng) for name, factor in FACTORS.items()}
        for _ in range(count)
    ]
    return {name: np.array([values[name] for values in drawn]) for name in FACTORS}


def extreme_values():
    """Every corner of the allowed ranges of size, thickness, position, width and number."""
    names = ("agent_size", "wall_thickness", "door_position", "door_width")
    grid = np.meshgrid(*(FACTORS[name].allowed for name in names), [1, 2, 3])
    values = default_values(FACTORS, grid[0].size)
    values |= {name: axis.reshape(-1) for name, axis in zip((*names, "door_number"), grid, strict=True)}
    values["agent_speed"] = np.full(grid[0].size, FACTORS["agent_speed"].allowed[1])
    return values


def starts(world, rng):
    return np.stack([sample_start(world.take(np.array([i])), rng) for i in range(len(world.radius))])


def deepest(values, points):
    """Overlap by brute force: the distance from the centre to points all over the walls' outlines."""
    world = geometry(values)
    worst = np.zeros(len(points))
    for e, (x, y) in enumerate(points):
        for low, high in world.solids[e]:
            ys = np.linspace(low, high, 400)
            xs = np.linspace(0.5 - world.half[e], 0.5 + world.half[e], 50)
            outline = np.concatenate(
                [
                    np.stack([np.full(400, 0.5 - world.half[e]), ys], -1),
                    np.stack([np.full(400, 0.5 + world.half[e]), ys], -1),
                    np.stack([xs, np.full(50, low)], -1),
                    np.stack([xs, np.full(50, high)], -1),
                ]
            )
            worst[e] = max(worst[e], world.radius[e] - np.hypot(*(outline - (x, y)).T).min())
    return worst


@pytest.mark.parametrize("values", [random_values(150, 0), extreme_values()], ids=["drawn", "extreme"])
def test_no_disc_ever_overlaps_a_wall(values):
    world = geometry(values)
    rng = np.random.default_rng(1)
    points = starts(world, rng)
    heading = rng.uniform(-1, 1, points.shape)
    crossings = 0
    for step in range(200):
        if step % 8 == 0:
            heading = rng.choice([-1, 1, 0.3, 0], points.shape) * rng.uniform(0.5, 1, points.shape)
        before = points
        points = move(world, points, heading * values["agent_speed"][:, None]).astype(np.float32)
        assert overlap(world, points).max() <= TOLERANCE
        # Sliding does not carry a disc farther than it was pushed (but for half a percent around a corner).
        pushed = np.hypot(*heading.T) * values["agent_speed"]
        assert (distance(points, before) <= pushed * 1.005 + 1e-6).all()
        # Whoever changes rooms does it within a gap (up to how far it turned on that step).
        crossed = (before[:, 0] < 0.5) != (points[:, 0] < 0.5)
        gap = gaps(world)
        share = (0.5 - before[:, 0]) / np.where(crossed, points[:, 0] - before[:, 0], 1)
        y = (before[:, 1] + share * (points[:, 1] - before[:, 1]))[:, None]
        within = ((y >= gap[..., 0] - 0.02) & (y <= gap[..., 1] + 0.02)).any(-1)
        assert within[crossed].all()
        crossings += crossed.sum()
    assert crossings > 20
    assert deepest(values, points).max() < 1e-4


def test_overlap_agrees_with_brute_force():
    values = random_values(200, 5)
    world = geometry(values)
    points = np.random.default_rng(0).uniform((0.35, 0.15), (0.65, 0.85), (200, 2))
    outside = ~(
        (np.abs(points[:, 0] - 0.5) < world.half)
        & ((points[:, 1, None] > world.solids[..., 0]) & (points[:, 1, None] < world.solids[..., 1])).any(-1)
    )
    expected = deepest(values, points)
    got = np.maximum(overlap(world, points), 0)
    np.testing.assert_allclose(got[outside], expected[outside], atol=1e-4)
    assert 20 < (expected[outside] > 0.001).sum() < outside.sum() - 20


@pytest.mark.parametrize("axis", [0, 1])
def test_mirrored_world_and_actions_give_the_mirrored_path(axis):
    values = random_values(100, 2)
    mirrored = dict(values)
    if axis == 1:
        mirrored["door_position"] = 1 - values["door_position"]
    world, other = geometry(values), geometry(mirrored)
    rng = np.random.default_rng(3)
    points = starts(world, rng).astype(np.float64)
    image = points.copy()
    image[:, axis] = 1 - image[:, axis]
    for _ in range(60):
        push = rng.uniform(-1, 1, points.shape) * values["agent_speed"][:, None]
        points = move(world, points, push)
        push[:, axis] *= -1
        image = move(other, image, push)
        expected = points.copy()
        expected[:, axis] = 1 - expected[:, axis]
        np.testing.assert_allclose(image, expected, atol=1e-9)


def test_free_motion_is_exact_and_walls_stop_only_the_part_into_them():
    world = geometry(default_values(FACTORS, 4))
    reach = 0.5 - world.half[0] - world.radius[0]
    margin = BORDER + world.radius[0]
    before = np.array([[0.2, 0.3], [reach, 0.2], [margin, margin], [0.2, 1 - margin]])
    push = np.array([[0.02, -0.03], [0.03, 0.01], [-0.03, -0.03], [0.01, 0.03]])
    after = np.array([[0.22, 0.27], [reach, 0.21], [margin, margin], [0.21, 1 - margin]])
    np.testing.assert_allclose(move(world, before, push), after, atol=1e-12)


def test_every_world_has_its_doors_wide_enough_and_in_the_wall():
    for values in (random_values(2000, 4), extreme_values()):
        world = geometry(values)
        real = np.arange(3) < values["door_number"][:, None]
        assert (world.doors[..., 0][real] >= BORDER).all() and (world.doors[..., 1][real] <= 1 - BORDER).all()
        np.testing.assert_allclose((world.doors[..., 1] - world.doors[..., 0]), real * values["door_width"][:, None])
        assert (world.solids[..., 1] >= world.solids[..., 0]).all()
        assert (world.doors[:, 0, 1] - world.doors[:, 0, 0] >= 2 * world.radius + 0.0099).all()
        one = values["door_number"] == 1
        np.testing.assert_allclose(world.doors[one, 0].mean(-1), values["door_position"][one])


def test_success_is_sixteen_pixels_of_224():
    goal = np.array([[0.3, 0.3]])
    assert success(goal + np.array([15.9 / 224, 0]), goal).all()
    assert not success(goal + np.array([0, 16.1 / 224]), goal).any()
    assert pytest.approx(16 / 224) == SUCCESS_DISTANCE


def grid_distance(world, start, end, side=81):
    """Dijkstra over a grid of free positions with moves to cells up to three away: a slow upper bound."""
    xy = np.stack(np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij"), -1).reshape(-1, 2)
    many = type(world)(*(np.repeat(part, len(xy), 0) for part in world))
    free = (overlap(many, xy) <= TOLERANCE).reshape(side, side)
    moves = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if np.gcd(i, j) == 1]
    source, target = (tuple(np.round(point * (side - 1)).astype(int)) for point in (start, end))
    best, queue = {source: 0.0}, [(0.0, source)]
    while queue:
        length, cell = heapq.heappop(queue)
        if cell == target:
            return length
        if length > best[cell]:
            continue
        for i, j in moves:
            ahead = (cell[0] + i, cell[1] + j)
            if not (0 <= ahead[0] < side and 0 <= ahead[1] < side) or not free[ahead]:
                continue
            further = length + np.hypot(i, j) / (side - 1)
            if further < best.get(ahead, np.inf):
                best[ahead] = further
                heapq.heappush(queue, (further, ahead))
    return np.inf


def test_path_distance_agrees_with_a_grid_search():
    values = random_values(8, 6)
    world = geometry(values)
    rng = np.random.default_rng(7)
    side = rng.choice([0, 1], 8)[:, None]
    a = np.abs(side * [1, 0] - np.round(rng.uniform((0.12, 0.12), (0.3, 0.88), (8, 2)) * 80) / 80)
    b = np.abs((1 - side) * [1, 0] - np.round(rng.uniform((0.12, 0.12), (0.3, 0.88), (8, 2)) * 80) / 80)
    expected = np.array([grid_distance(world.take(np.array([i])), a[i], b[i]) for i in range(8)])
    got = path_distance(a, b, values)
    assert (got <= expected + 1e-9).all()
    np.testing.assert_allclose(got, expected, rtol=0.04)
    assert (got >= distance(a, b) - 1e-12).all()
    np.testing.assert_allclose(got, path_distance(b, a, values), atol=1e-12)


def test_path_distance_is_the_least_over_all_crossings_of_the_two_faces():
    values = random_values(100, 8)
    world = geometry(values)
    rng = np.random.default_rng(9)
    a, b = rng.uniform((0.1, 0.1), (0.3, 0.9), (100, 2)), rng.uniform((0.7, 0.1), (0.9, 0.9), (100, 2))
    expected = np.full(100, np.inf)
    for e in range(100):
        for low, high in gaps(world)[e, : values["door_number"][e]]:
            left, right = 0.5 - world.half[e], 0.5 + world.half[e]
            y, z = np.meshgrid(np.linspace(low, high, 60), np.linspace(low, high, 60))
            into = np.hypot(left - a[e, 0], y - a[e, 1])
            out = np.hypot(b[e, 0] - right, b[e, 1] - z)
            expected[e] = min(expected[e], (into + np.hypot(right - left, z - y) + out).min())
    got = path_distance(a, b, values)
    assert (got <= expected + 1e-12).all()
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_path_distance_in_one_room_is_euclidean():
    values = default_values(FACTORS, 2)
    a, b = np.array([[0.1, 0.1], [0.9, 0.2]]), np.array([[0.4, 0.9], [0.7, 0.7]])
    np.testing.assert_allclose(path_distance(a, b, values), distance(a, b))
