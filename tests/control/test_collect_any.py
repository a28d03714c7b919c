"""Any gymnasium environment can be collected: frames, states, actions and ends that belong together."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from jepa_wm.control.collect import collect
from jepa_wm.data import EpisodeShards
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest


class Counter(gymnasium.Env):
    """Its frames, states and captions say which episode and step it is; ends after 5 to 12 steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = spaces.Dict(
        {
            "pixels": spaces.Box(0, 255, (12, 20, 3), np.uint8),
            "step": spaces.Box(0, 99, (2,)),
            "lamp": spaces.Discrete(3),
        }
    )
    episodes = 0

    def __init__(self, render_mode=None, kind="dict"):
        self.render_mode, self.kind = render_mode, kind
        self.action_space = {"dict": spaces.Discrete(4), "plain": spaces.Box(-2, np.inf, (2, 1))}[kind]
        if kind == "plain":
            self.observation_space = spaces.Box(0, 255, (2,))

    def _look(self):
        if self.kind == "plain":
            return np.array([self.level, self.step_number], np.float32)
        step = np.array([self.level, self.step_number], np.float32)
        return {"pixels": self._picture(), "step": step, "lamp": np.int64(self.step_number % 3)}

    def _picture(self):
        return np.full((12, 20, 3), [self.level, self.step_number * 10, 0], np.uint8)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.level, self.step_number = int(self.np_random.integers(250)), 0
        self.end = 5 + self.level % 8
        return self._look(), {"caption": "start", "factors": {"level": self.level}}

    def step(self, action):
        self.step_number += 1
        reward = float(action) if self.kind == "dict" else float(action.sum())
        return self._look(), reward, self.step_number == self.end, False, {"caption": f"step {self.step_number}"}

    def render(self):
        return self._picture()


class Taught(Counter):
    """Has an expert, who does by its infos what nobody would by chance."""

    def expert(self, seed):
        return lambda info: np.array([[1.5], [float(info["caption"].removeprefix("step ").replace("start", "0"))]])


gymnasium.register("tests/Taught-v0", entry_point=Taught, kwargs={"kind": "plain"})
for kind in ("dict", "plain"):
    gymnasium.register(f"tests/Counter-{kind}-v0", entry_point=Counter, kwargs={"kind": kind})
gymnasium.register("tests/Blind-v0", entry_point=lambda render_mode: Blind())
gymnasium.register("tests/Undrawn-v0", entry_point=lambda render_mode: Undrawn())
gymnasium.register("tests/Odd-v0", entry_point=lambda render_mode: Odd())


class Blind(Counter):
    """Shows nothing."""

    def __init__(self):
        super().__init__(kind="plain", render_mode="rgb_array")

    def render(self):
        return None


class Undrawn(Blind):
    """What would draw it is not installed."""

    def render(self):
        raise gymnasium.error.DependencyNotInstalled("pygame is not installed")


class Odd(Counter):
    """Wants text for an action."""

    def __init__(self):
        super().__init__(render_mode="rgb_array")
        self.action_space = spaces.Text(5)


def check(episode, discrete):
    frames, level = len(episode.frames), episode.factors["level"]
    assert frames == 6 + level % 8 and episode.terminated is True
    for t in range(frames):
        assert episode.frames[t, :, 3, 4].tolist() == [level, 10 * t, 0]
    np.testing.assert_array_equal(episode.state[:, -2:], [[level, t] for t in range(frames)])
    assert episode.captions == ["start", *(f"step {t}" for t in range(1, frames))]
    actions = episode.actions
    if discrete:
        assert set(actions.ravel().tolist()) == {0.0, 1.0} and (actions.sum(axis=1) == 1).all()
        np.testing.assert_array_equal(episode.reward, actions.argmax(axis=1))
        np.testing.assert_array_equal(episode.state[:, :3].argmax(axis=1), np.arange(frames) % 3)
    else:
        np.testing.assert_allclose(episode.reward, actions.sum(axis=1), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("kind", "width", "space"), [
    ("dict", 4, {"type": "Discrete", "width": 4}),
    ("plain", 2, {"type": "Box", "low": [-2.0, -2.0], "high": [None, None]}),
])  # fmt: skip
def test_episodes_are_whole_and_their_own(tmp_path, kind, width, space):
    collect(str(tmp_path / "out"), episodes=20, steps=50, size=8, environment=f"tests/Counter-{kind}-v0", codec="png")
    manifest = read_manifest(tmp_path / "out", "collect")
    assert manifest["action_space"] == space and manifest["frame_shape"] == [3, 8, 8]
    levels = set()
    for split in ("train", "val", "test"):
        for episode in EpisodeShards(tmp_path / "out", split):
            check(episode, kind == "dict")
            assert episode.actions.shape[1] == width
            levels.add(episode.factors["level"])
    assert len(levels) > 15


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_steps_are_the_most_there_are_and_the_seed_decides(tmp_path):
    hashes = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        collect(str(tmp_path / name), 3, 4, 8, "tests/Counter-dict-v0", codec="png", seed=seed)
        hashes.append(read_manifest(tmp_path / name)["data_hash"])
        for episode in EpisodeShards(tmp_path / name):
            assert len(episode.frames) == 5 and episode.terminated is False
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 10, 30), (1.0, 40, 40)])
def test_an_expert_of_the_environment_plays_its_share(tmp_path, share, least, most):
    collect(str(tmp_path / "out"), 40, 6, 8, "tests/Taught-v0", expert_fraction=share, codec="png")
    experts = 0
    for split in ("train", "val", "test"):
        for episode in EpisodeShards(tmp_path / "out", split):
            told = np.stack([np.full(len(episode.actions), 1.5), np.arange(len(episode.actions))], axis=1)
            experts += np.array_equal(episode.actions, told)
    assert least <= experts <= most
    with pytest.raises(UserError, match=r"expert_fraction 1\.5; expected 0 to 1"):
        collect(str(tmp_path / "more"), 3, 4, 8, "tests/Taught-v0", expert_fraction=1.5)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("environment", "message"), [("tests/Blind-v0", "renders NoneType"), ("tests/Odd-v0", "Text")])
def test_what_cannot_be_collected_is_named(tmp_path, environment, message):
    with pytest.raises(UserError, match=message):
        collect(str(tmp_path / "out"), 3, 4, 8, environment)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_cart_pole(tmp_path):
    pytest.importorskip("pygame")
    collect(str(tmp_path / "out"), 4, 20, 64, "CartPole-v1")
    episode = EpisodeShards(tmp_path / "out")[0]
    assert episode.state.shape == (len(episode.frames), 4) and episode.actions.shape[1] == 2
    # The cart is black on white, and it moves with its first coordinate.
    assert episode.frames.min() < 50 < 200 < episode.frames.max()


def test_an_environment_that_cannot_be_drawn_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match="tests/Undrawn-v0' cannot be drawn: pygame is not installed"):
        collect(str(tmp_path / "out"), environment="tests/Undrawn-v0", episodes=3, steps=4, size=16)
    assert not (tmp_path / "out").exists()
