"""Proposals by brute force, by hand, and in a world in which the right action is known."""

import itertools
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.dynamics.cost import ActionCost
from jepa_wm.dynamics.proposal import Proposal, propose
from jepa_wm.errors import UserError

LONGEST = 3


def made(width: int = 32) -> Proposal:
    torch.manual_seed(0)
    proposal = Proposal(latent_dim=2, action_dim=2, frame_skip=2, longest=LONGEST, width=width)
    proposal.prepare(
        {"action_mean": [0.1, -0.2], "action_std": [0.5, 2.0], "action_bounds": ([-1.0, -1.0], [1.0, 1.0])}
    )
    return proposal


def test_the_errors_are_those_of_all_pairs_one_by_one() -> None:
    proposal, clips, frames = made(), 3, 5
    latents, actions = torch.randn(clips, frames, 1, 2), torch.randn(clips, frames - 1, 4)
    found = proposal.errors(latents, actions)
    wrong, surprise = [], []
    for clip, start, end in itertools.product(range(clips), range(frames), range(frames)):
        if end < start:
            continue
        pair = torch.cat([latents[clip, start, 0], latents[clip, end, 0]])
        ahead = min(end - start, LONGEST)
        surprise.append(-proposal.read_blocks(pair).log_softmax(-1)[min(end - start, LONGEST + 1)])
        if end > start:
            told = proposal.read_actions(torch.cat([pair, torch.tensor([1 / ahead, ahead / LONGEST])]))
            taken = (actions[clip, start].view(2, 2) - torch.tensor([0.1, -0.2])) / torch.tensor([0.5, 2.0])
            wrong.append((told - taken.flatten()).square())
    # The third clip has no neighbour.
    for one, other in ((0, 1), (1, 0)):
        for t in range(frames):
            pair = torch.cat([latents[one, t, 0], latents[other, t, 0]])
            surprise.append(-proposal.read_blocks(pair).log_softmax(-1)[LONGEST + 1])
    torch.testing.assert_close(found["actions"], torch.stack(wrong).mean())
    torch.testing.assert_close(found["blocks"], torch.stack(surprise).mean())


def test_what_is_proposed_is_in_the_environments_units_and_within_its_bounds() -> None:
    proposal, latents, goal = made(), torch.randn(50, 1, 2), torch.randn(50, 1, 2)
    proposal.read_actions[-1].weight.data *= 30
    told = proposal.read_actions(torch.cat([latents[:, 0], goal[:, 0], torch.tensor([[0.5, 2 / 3]]).expand(50, 2)], 1))
    wanted = told.view(50, 2, 2) * torch.tensor([0.5, 2.0]) + torch.tensor([0.1, -0.2])
    assert (wanted.abs() > 1).any() and (wanted.abs() < 1).any()
    found = proposal(latents, goal, torch.full((50,), 2))
    torch.testing.assert_close(found, wanted.clamp(-1, 1).flatten(1))
    assert torch.equal(proposal(latents, goal, torch.full((50,), 9)), proposal(latents, goal, torch.full((50,), 3)))


def test_the_expected_number_of_blocks_is_that_of_the_shares() -> None:
    proposal, latents = made(), torch.randn(4, 7, 1, 2)
    goal = torch.randn(4, 1, 1, 2)
    pair = torch.cat([latents, goal.expand_as(latents)], dim=-1).flatten(-2)
    shares = proposal.read_blocks(pair).softmax(-1)
    torch.testing.assert_close(proposal.blocks(latents, goal), shares @ torch.arange(LONGEST + 2.0))


def test_the_soonest_is_the_first_number_of_blocks_that_a_tenth_of_the_ways_took() -> None:
    proposal, latents, goal = made(), torch.randn(40, 1, 2), torch.randn(40, 1, 2)
    proposal.read_blocks[-1].weight.data *= 60
    shares = proposal.read_blocks(torch.cat([latents, goal], -1).flatten(1)).softmax(-1)
    wanted = []
    for row in shares:
        ways = row[1 : LONGEST + 1] / row[1 : LONGEST + 1].sum()
        wanted.append(next(k for k in range(1, LONGEST + 1) if ways[:k].sum() >= 0.1))
    assert proposal.soonest(latents, goal).tolist() == wanted and {1, 2} <= set(wanted)


def test_latents_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match="2 tokens of width 2; expected 1 of 2"):
        made()(torch.randn(3, 2, 2), torch.randn(3, 2, 2), torch.ones(3))
    with pytest.raises(UserError, match="blocks of 6 numbers; expected frame_skip 2 times action_dim 2"):
        made().errors(torch.randn(3, 4, 1, 2), torch.randn(3, 3, 6))


@pytest.mark.parametrize("hold", [True, False])
def test_a_plan_is_the_proposals_one_after_the_other(hold: bool) -> None:
    proposal, seen, goal = made(), torch.randn(3, 1, 2), torch.randn(1, 1, 2)
    dynamics = TransformerDynamics(2, (1, 1), 2, 2, Trunk(12, 1, 2), window=3).eval()
    for parameter in dynamics.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    with patch.object(dynamics, "step", wraps=dynamics.step) as step:
        found = propose(proposal, dynamics, seen, goal, 3, hold)
    assert step.call_count == 3
    assert found.actions.shape == (3, 1, 3, 2 if hold else 4)
    taken: list[Tensor] = []
    for block in found.actions[:, 0].unbind(1):
        now = seen
        if taken:
            past = torch.stack(taken, 1)
            now = dynamics.future(dynamics.start(seen[:, None], past[:, :0]), past)[:, -1]
        wanted = proposal(now, goal, proposal.soonest(now, goal))
        wanted = wanted.view(3, 2, 2).mean(1) if hold else wanted
        torch.testing.assert_close(block, wanted, rtol=1e-4, atol=1e-5)
        taken.append(block.repeat(1, 2) if hold else block)
    judged = ActionCost(dynamics, seen[:, None], lambda future: future.latents[:, :, -1].sum(dim=(-2, -1)))
    imagined = judged.imagine(found.actions)
    torch.testing.assert_close(found.latents, imagined.latents, rtol=1e-4, atol=1e-5)
    judged.known = found._replace(latents=found.latents + 1)
    assert judged.imagine(found.actions.clone()) is judged.known
    assert judged.imagine(found.actions + 0.1) is not judged.known
    assert judged.imagine(found.actions.repeat(1, 2, 1, 1)) is not judged.known


def test_where_the_right_action_is_known_it_is_learned_and_so_is_the_way() -> None:
    """Straight lines at an even pace: what leads to a goal h blocks ahead is the h-th part of the way there."""
    proposal = made(width=64)
    optimizer = torch.optim.Adam(proposal.parameters(), 3e-3)
    for _ in range(250):
        latents, actions = lines(64)
        error = sum(proposal.errors(latents, actions).values())
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    latents, actions = lines(200)
    for ahead in (1, 2, 3):
        found = proposal(latents[:, 0], latents[:, ahead], torch.full((200,), ahead))
        assert F.mse_loss(found, actions[:, 0]) < 0.05 * actions.var()
    blocks = [proposal.blocks(latents[:, 0], latents[:, ahead]).mean().item() for ahead in range(LONGEST + 1)]
    assert blocks[0] < 0.6 and all(near + 0.2 < far for near, far in itertools.pairwise(blocks))


def lines(clips: int) -> tuple[Tensor, Tensor]:
    """Latents (B, 4, 1, 2) on lines, and the two equal steps of each block (B, 3, 4)."""
    start, angle = torch.randn(clips, 1, 2), 6.3 * torch.rand(clips)
    step = torch.stack([angle.cos(), angle.sin()], dim=-1)[:, None]
    latents = start + 2 * step * torch.arange(4.0)[:, None]
    return latents[:, :, None], step.repeat(1, 3, 2)
