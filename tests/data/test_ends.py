"""How an episode ended: written, read, put into batches, and learned."""

import json

import numpy as np
import pytest
import torch

from jepa_wm.data import Clips, EpisodeShards, Loader, Mixture
from jepa_wm.data.episodes import decode, encode
from jepa_wm.dynamics import MLPDynamics
from jepa_wm.dynamics.heads import ContinueHead
from jepa_wm.encoders.vit import ViT
from jepa_wm.errors import UserError
from jepa_wm.objectives import Forecasting
from jepa_wm.objectives.terms import HeadTerm


def ended(episode, how):
    return episode._replace(terminated=how)


@pytest.mark.parametrize("how", [True, False, None])
def test_it_is_kept_and_what_is_not_known_is_not_written(make_episode, how):
    members = encode(ended(make_episode(1), how), "png")
    assert decode(members, "e1").terminated is how
    assert json.loads(members["json"]).get("terminated", "missing") == ("missing" if how is None else how)
    before = encode(make_episode(1), "png")
    assert {name: data for name, data in members.items() if name != "json"} == {
        name: data for name, data in before.items() if name != "json"
    }


def test_what_is_no_answer_is_refused(make_episode):
    with pytest.raises(UserError, match=r"episode 'e1' cannot be written: terminated is 1; expected true or false"):
        encode(ended(make_episode(1), 1), "png")
    members = encode(make_episode(1), "png")
    members["json"] = json.dumps(json.loads(members["json"]) | {"terminated": "yes"}).encode()
    with pytest.raises(ValueError, match="terminated is 'yes'"):
        decode(members, "e1")


@pytest.mark.parametrize("pad", [False, True])
def test_the_last_frame_of_an_episode_that_was_over_ends_it(tmp_path, make_episode, write_shards, pad):
    episodes = [ended(make_episode(number, frames=5 + number), number % 2 == 0) for number in range(4)]
    shards = EpisodeShards(write_shards(tmp_path, episodes))
    clips = Clips(shards, frames=3, frame_skip=3 if pad else 2, clips=4, pad=pad)
    seen = set()
    for _ in range(3):
        for batch in Loader(clips, 4, seed=1):
            assert batch["ends"].dtype == torch.float32
            for (number, start), found in zip(batch["index"].tolist(), batch["ends"].tolist(), strict=True):
                reached = [start + clips.frame_skip * step for step in (1, 2)]
                assert found == [float(number % 2 == 0 and time >= 4 + number) for time in reached]
                seen.add((number % 2 == 0, *found))
    assert {(True, 0.0, 1.0), (False, 0.0, 0.0)} <= seen


def test_batches_do_not_say_what_some_of_their_episodes_do_not(tmp_path, make_episode, write_shards):
    known = write_shards(tmp_path / "known", [ended(make_episode(number), False) for number in range(4)])
    silent = write_shards(tmp_path / "silent", [make_episode(number) for number in range(4)])
    one, other = (Clips(EpisodeShards(folder), frames=2) for folder in (known, silent))
    assert all("ends" in batch for batch in Loader(one, 2))
    assert not any("ends" in batch for batch in Loader(other, 2))
    mixed = list(Loader(Mixture([one, other], [1, 1]), 4, full=True))
    assert mixed and not any("ends" in batch for batch in mixed)
    assert {"pixels", "actions", "state", "reward", "captions"} <= mixed[0].keys()


def bright(make_episode, number, how):
    """Dark until its last frame."""
    frames = np.zeros((4, 3, 8, 8), np.uint8)
    frames[-1] = 255
    return ended(make_episode(number, frames=4), how)._replace(frames=frames)


def test_a_head_learns_how_often_it_goes_on_after_what_it_sees(tmp_path, make_episode, write_shards):
    """A quarter of the episodes is over at the bright frame that all of them stop at, and none before."""
    torch.manual_seed(0)
    folder = write_shards(tmp_path, [bright(make_episode, number, number % 4 == 0) for number in range(8)])
    encoder, head = ViT(patch=4, dim=8, depth=1, heads=2), ContinueHead(8, width=16)
    dynamics = MLPDynamics(8, action_dim=2, frame_skip=1, width=16)
    made = Forecasting(encoder, dynamics, {"on": HeadTerm(head, "on")}, freeze_encoder=True)
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    batch = next(iter(Loader(Clips(EpisodeShards(folder), frames=4), 8)))
    for _ in range(200):
        optimizer.zero_grad()
        loss = made(batch)["on"]
        loss.backward()
        optimizer.step()
    dark, light = (torch.full((1, 3, 8, 8), value, dtype=torch.uint8) for value in (0, 255))
    with torch.no_grad():
        found = [head(encoder.pooled(picture)[:, None]).item() for picture in (dark, light)]
    assert found == [pytest.approx(1.0, abs=0.01), pytest.approx(0.75, abs=0.01)]
    # A third of the frames that are reached are bright: of these the entropy is left.
    assert loss.item() == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / 3, abs=0.005)
    del batch["ends"]
    with pytest.raises(UserError, match="ContinueHead: the batch has no 'ends'"):
        made(batch)
