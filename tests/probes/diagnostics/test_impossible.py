"""What is called impossible is, by the states; and its twin is not."""

import numpy as np
import pytest

from jepa_wm.control.collect import collect
from jepa_wm.control.playback import play_back
from jepa_wm.data import EpisodeShards
from jepa_wm.envs import TWO_ROOMS
from jepa_wm.envs.geometry import distance, geometry, overlap, path_distance
from jepa_wm.errors import UserError
from probes.diagnostics.impossible import LOUD, Clip, Twins, film_of_clip, reach, roll, twins

SKIP, FRAMES, SIZE = 5, 7, 48


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("impossible") / "shards"
    names = ("agent_color", "agent_size", "agent_speed", "door_position", "door_number", "wall_thickness", "wall_color")
    factors = dict.fromkeys(names, "sample")
    collect(str(folder), episodes=60, steps=30, size=SIZE, factors=factors, held_out=0.8, codec="png")
    shards = EpisodeShards(str(folder), "test")
    episodes = [shards[number] for number in range(24)]
    values = {name: np.stack([np.asarray(each.factors[name]) for each in episodes]) for name in episodes[0].factors}
    states = np.stack([each.state[::SKIP] for each in episodes])
    actions = np.stack([each.actions.reshape(FRAMES - 1, -1) for each in episodes])
    color = np.repeat(values["agent_color"][:, None], FRAMES, axis=1)
    return Clip(states, actions, color, np.ones((24, FRAMES), bool), values)


@pytest.fixture(scope="module")
def made(recorded: Clip) -> dict[str, Twins]:
    return twins(recorded.states, recorded.actions, recorded.factors, seed=3)


def misses(clip: Clip) -> np.ndarray:
    """How far each state is from where the one before and the actions lead, (E, T - 1)."""
    steps = [
        distance(roll(clip.states[:, t], clip.actions[:, t : t + 1], clip.factors)[:, 1], clip.states[:, t + 1])
        for t in range(FRAMES - 1)
    ]
    return np.stack(steps, axis=1)


def test_rolled_states_are_what_the_environment_plays(recorded: Clip) -> None:
    rolled = roll(recorded.states[:, 0], recorded.actions, recorded.factors)
    np.testing.assert_allclose(rolled, recorded.states, atol=1e-6)
    steps = recorded.actions.reshape(24, -1, 2)
    ending = play_back(TWO_ROOMS, SIZE, recorded.states[:, 0], recorded.factors, steps)
    np.testing.assert_allclose(ending.state, recorded.states[:, -1], atol=1e-6)
    pictures = film_of_clip(recorded, SIZE).pixels.numpy()
    assert np.abs(pictures[:, -1].astype(int) - ending.pixels).max() <= 1


def test_possible_clips_follow_their_actions(made: dict[str, Twins]) -> None:
    for pair in made.values():
        assert misses(pair.possible).max() < 1e-5
        at = pair.possible.states.reshape(-1, 2)
        world = geometry({name: np.repeat(value, FRAMES, axis=0) for name, value in pair.possible.factors.items()})
        assert overlap(world, at).max() < 1e-5


def test_twins_are_the_same_until_they_are_not(made: dict[str, Twins]) -> None:
    before = np.arange(FRAMES) < made["teleport"].since[:, None]
    for kind in ("teleport", "vanish", "recolour"):
        one, other = (film_of_clip(clip, SIZE).pixels.numpy() for clip in made[kind][:2])
        differ = (one != other).any(axis=(2, 3, 4))
        rows = np.arange(len(differ))
        assert not differ[before].any() and differ[rows, made[kind].since].all()
        np.testing.assert_array_equal(made[kind].possible.actions, made[kind].impossible.actions)


def test_a_teleport_is_beyond_the_reach_of_a_block_and_lawful_before_and_after(made: dict[str, Twins]) -> None:
    pair = made["teleport"]
    rows, clip = np.arange(24), pair.impossible
    jump = distance(clip.states[rows, pair.since], clip.states[rows, pair.since - 1])
    assert (jump > reach(clip.actions, clip.factors)).all()
    np.testing.assert_allclose(reach(clip.actions, clip.factors), SKIP * clip.factors["agent_speed"] * 2**0.5)
    missed = misses(clip)
    assert (missed[rows, pair.since - 1] > 0.05).all()
    missed[rows, pair.since - 1] = 0
    assert missed.max() < 1e-5
    world = geometry(clip.factors)
    assert overlap(world, clip.states[rows, pair.since]).max() <= 0


def test_a_crossing_goes_through_the_wall_and_its_twin_through_a_door(made: dict[str, Twins]) -> None:
    can, cannot, since = made["crossing"]
    rows, side = np.arange(24), np.sign(can.states[:, 0, 0] - 0.5)
    np.testing.assert_array_equal(can.states[..., 0], cannot.states[..., 0])
    np.testing.assert_array_equal(can.actions, cannot.actions)
    assert (np.ptp(cannot.states[..., 1], axis=1) < 1e-6).all() and set(side) == {-1.0, 1.0}
    assert (np.sign(can.states[:, -1, 0] - 0.5) == -side).all()
    # As the crow flies where there is a door; a detour where the wall is.
    for clip, detour in ((can, False), (cannot, True)):
        ends = clip.states[:, 0], clip.states[:, -1]
        assert ((path_distance(*ends, clip.factors) > distance(*ends) + 1e-3) == detour).all()
    # The middle of the disc is in the wall on its way, and with the same actions it would have been stopped there.
    world = geometry(can.factors)
    doorway, wall = (np.stack([np.full(24, 0.5), clip.states[:, 0, 1]], -1) for clip in (can, cannot))
    assert overlap(world, doorway).max() <= 0 and (overlap(world, wall) >= world.radius - 1e-6).all()
    stopped = roll(cannot.states[:, 0], cannot.actions, cannot.factors)
    face = world.half + world.radius
    np.testing.assert_allclose(stopped[:, -1, 0], 0.5 + side * face, atol=1e-5)
    # It is possible up to `since`, and not there.
    missed = misses(cannot)
    assert (missed[np.arange(FRAMES - 1) < since[:, None] - 1] < 1e-5).all() and (missed[rows, since - 1] > 1e-6).all()
    assert overlap(world, cannot.states[rows, since - 1]).max() < 1e-5
    at = cannot.states[rows, since]
    assert ((overlap(world, at) > 0) | (np.sign(at[:, 0] - 0.5) == -side)).all()


def test_other_colours_are_loud_and_the_vanished_leave_a_bare_room(made: dict[str, Twins]) -> None:
    color, since = made["recolour"].impossible.color.astype(float), made["recolour"].since
    rows = np.arange(24)
    assert (np.linalg.norm(color[rows, since] - color[rows, 0], axis=-1) >= LOUD).all()
    bare = film_of_clip(made["vanish"].impossible, SIZE).pixels.numpy()[rows, -1]
    moved = made["vanish"].impossible._replace(states=0 * made["vanish"].impossible.states + 0.2)
    np.testing.assert_array_equal(bare, film_of_clip(moved, SIZE).pixels.numpy()[rows, -1])


def test_a_block_that_can_go_everywhere_leaves_nothing_for_a_teleport(recorded: Clip) -> None:
    fast = {**recorded.factors, "agent_speed": np.full(24, 0.3)}
    with pytest.raises(UserError, match="a smaller frame_skip"):
        twins(recorded.states, recorded.actions, fast)


def test_twins_are_drawn_by_their_seed(recorded: Clip, made: dict[str, Twins]) -> None:
    again = twins(recorded.states, recorded.actions, recorded.factors, seed=3)
    other = twins(recorded.states, recorded.actions, recorded.factors, seed=4)
    np.testing.assert_array_equal(again["teleport"].impossible.states, made["teleport"].impossible.states)
    assert (other["teleport"].impossible.states != made["teleport"].impossible.states).any()
