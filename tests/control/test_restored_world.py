"""Environments that are put at recorded states, side by side."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from jepa_wm.control.restored_world import RestoredWorld, simulator
from jepa_wm.errors import UserError
from tests.control.cart import CART, Cart

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


class Stuck(Cart):
    """Cannot be put anywhere."""

    def restore(self, state: np.ndarray) -> np.ndarray:
        return np.zeros(2, np.float32)


class Chosen(Cart):
    """Has choices, no numbers."""

    action_space = spaces.Discrete(3)


gymnasium.register("tests/Stuck-v0", entry_point=Stuck)
gymnasium.register("tests/Chosen-v0", entry_point=Chosen)


def test_episodes_side_by_side_go_as_each_goes_alone() -> None:
    random = np.random.default_rng(0)
    states, actions = random.normal(size=(3, 2)).astype(np.float32), random.uniform(-3, 3, (3, 9, 2))
    world = RestoredWorld(CART, 4, 3)
    world.reset(options={"state": states})
    for step in range(9):
        world.step(actions[:, step])
        world.render_states(-states)  # Where nobody is: they go on from where they were.
    for number, (state, own) in enumerate(zip(states, actions, strict=True)):
        alone = Cart()
        alone.restore(state)
        for action in own:
            found, *_ = alone.step(np.clip(action, [-2, -1], [2, 1]).astype(np.float32))
        np.testing.assert_array_equal(world.state[number], found)
        assert world.look(np.arange(3) == number)[0, 0, 0, 0] == int(np.clip(100 + 50 * alone.place[0], 0, 255))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ("tests/Stuck-v0", r"was put at \[1.0, 1.0\] and observes \[0.0, 0.0\]"),
        ("tests/Chosen-v0", r"has actions Discrete\(3\); expected a row of numbers"),
        ("CartPole-v1", "goals of CartPole-v1 are not known; .* restore, snapshot, resume, reached is missing"),
        ("Else-v0", "'Else-v0' cannot be made"),
    ],
)
def test_what_cannot_be_put_at_a_state_is_named(environment: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        RestoredWorld(environment, 8, 1).reset(options={"state": np.ones((1, 2), np.float32)})


def test_one_that_is_asked_about_is_made_once() -> None:
    assert simulator(CART) is simulator(CART)
