"""Latent against true distance: brute force, and the shortest way against one on a grid."""

import heapq

import numpy as np
import pytest
import torch

from jepa_wm.envs import PUSH_T, TWO_ROOMS, tee
from jepa_wm.envs.factors import FACTORS, default_values
from jepa_wm.envs.geometry import geometry, overlap
from probes.diagnostics.distances import places, planning_distance, step_distances, true_distances
from probes.diagnostics.ranks import spearman


def test_every_frame_is_a_goal_for_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randint(0, 4, (3, 6, 2), generator=generator).float()
    state = torch.randint(0, 4, (3, 6, 2), generator=generator).float()
    truth = true_distances(state, None)
    rows = {row["metric"]: row["value"] for row in planning_distance(latents, truth, "distance")}
    correlations, right, pairs = [], 0.0, 0
    for e in range(3):
        for goal in range(6):
            rest = [s for s in range(6) if s != goal]
            near = [(latents[e, s] - latents[e, goal]).double().norm() for s in rest]
            true = [(state[e, s] - state[e, goal]).double().norm() for s in rest]
            if len(set(map(float, true))) > 1:
                correlations.append(spearman(torch.stack(near), torch.stack(true)).item())
            for i in range(5):
                for j in range(5):
                    if true[i] < true[j]:
                        pairs += 1
                        right += 1.0 if near[i] < near[j] else 0.5 if near[i] == near[j] else 0.0
    assert rows["distance_spearman"] == pytest.approx(sum(correlations) / len(correlations))
    assert rows["distance_auc"] == pytest.approx(right / pairs)


def test_the_state_itself_and_what_knows_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    state = torch.rand(40, 9, 2, generator=generator)
    exact, none = (
        {row["metric"]: row for row in planning_distance(z, true_distances(state, None), "distance")}
        for z in (3 * state + 1, torch.randn(40, 9, 5, generator=generator))
    )
    assert exact["distance_spearman"]["value"] == pytest.approx(1) and exact["distance_auc"]["value"] == 1
    low, high = none["distance_spearman"]["interval"]
    assert low < 0 < high and none["distance_auc"]["value"] == pytest.approx(0.5, abs=0.05)
    line = torch.arange(9.0)[None, :, None].expand(4, -1, -1)
    assert planning_distance(line, step_distances(line), "steps")[0]["value"] == pytest.approx(1)


def dijkstra(start: np.ndarray, free: np.ndarray, step: float) -> dict[tuple[int, int], float]:
    """Ways on a grid (n, n) to all knight's and king's neighbours, which bend a little."""
    moves = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if np.gcd(i, j) == 1]
    found: dict[tuple[int, int], float] = {}
    open_ends = [(0.0, (int(start[0]), int(start[1])))]
    while open_ends:
        length, at = heapq.heappop(open_ends)
        if at in found:
            continue
        found[at] = length
        for i, j in moves:
            to = (at[0] + i, at[1] + j)
            if min(to) >= 0 and max(to) < len(free) and free[to] and to not in found:
                heapq.heappush(open_ends, (length + step * float(np.hypot(i, j)), to))
    return found


def test_the_way_through_the_door_is_the_shortest_on_a_grid() -> None:
    factors = default_values(FACTORS, 1)
    side = np.linspace(0.0, 1.0, 101)
    points = np.stack(np.meshgrid(side, side, indexing="ij"), -1)
    free = (overlap(_repeated(factors, 101 * 101), points.reshape(-1, 2)) <= 0).reshape(101, 101)
    start = np.array([20, 85])
    found = dijkstra(start, free, 0.01)
    ends = [(80, 85), (70, 30), (25, 20), (50, 50), (85, 12)]
    state = torch.tensor(np.array([points[tuple(start)], *(points[end] for end in ends)]), dtype=torch.float32)[None]
    mine = true_distances(state, factors)[0, 0, 1:].numpy()
    grid = np.array([found[end] for end in ends])
    # The grid bends, and goes round the door's corners: it is longer by some parts in a hundred.
    assert (mine <= grid + 1e-6).all() and (grid < 1.06 * mine).all()
    assert mine[0] > 0.75 and np.hypot(0.6, 0) < 0.61


def _repeated(factors: dict[str, np.ndarray], count: int):
    return geometry({name: np.repeat(value, count, axis=0) for name, value in factors.items()})


def test_places_of_push_t_are_as_far_apart_as_the_points_of_its_block() -> None:
    random = np.random.default_rng(0)
    scale, angle = np.array([1.0, 1.5]), random.uniform(0, 6, (2, 2))
    state = torch.from_numpy(
        np.concatenate([random.uniform(0, 1, (2, 2, 4)), np.sin(angle)[..., None], np.cos(angle)[..., None]], axis=-1)
    )
    state = torch.cat([state, 2 * torch.rand(2, 2, 2, dtype=torch.float64)], dim=-1)
    found = true_distances(places(state, PUSH_T, {"block_scale": scale}), None)[:, 0, 1]
    grid = np.stack(np.meshgrid(np.linspace(-4, 4, 801), np.linspace(-4, 4, 801)), axis=-1).reshape(-1, 2)
    inside = grid[tee.signed_distance(grid[:, 0], grid[:, 1], 1.0) < 0]
    for i in range(2):
        points = []
        for x, y, sine, cosine in state[i, :, 2:6].tolist():
            turn = np.array([[cosine, -sine], [sine, cosine]])
            points.append(scale[i] * tee.UNIT * inside @ turn.T + [x, y])
        moved = ((points[0] - points[1]) ** 2).sum(axis=-1).mean()
        pusher = (state[i, 0, :2] - state[i, 1, :2]).square().sum().item()
        assert found[i].item() == pytest.approx((moved + pusher) ** 0.5, rel=2e-3)
    assert places(state, TWO_ROOMS, {}) is state
