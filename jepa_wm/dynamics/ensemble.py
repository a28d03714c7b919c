"""Several predictors at once, whose disagreement says what they do not know."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from jepa_wm.checkpoint import build, spec
from jepa_wm.contracts import Dynamics
from jepa_wm.errors import UserError
from jepa_wm.optim import MEMBERS
from jepa_wm.standard import Standard


class EnsembleState(NamedTuple):
    """The members' states: leaves, tensors of all members stacked, and how they make a state."""

    leaves: list[Any]
    structure: TreeSpec


class Ensemble(Dynamics):
    """M predictors of one kind with weights of their own, run as one by vmap; its answer is their mean.

    Each starts from its own weights, imagines from its own latents, and is trained on its own error, on the same
    batches.

    Args:
        member: what to have M of; its own weights are not used.
        members: M.

    Raises:
        UserError: if there are fewer than two members, or `member` is an ensemble.

    Source: deep ensembles (arXiv 1612.01474).
    """

    member: Dynamics

    def __init__(self, member: Dynamics, members: int = 5) -> None:
        super().__init__()
        if members < 2 or isinstance(member, Ensemble):
            raise UserError(
                f"Ensemble: got {members} members of class {type(member).__name__}; expected two or more, and a "
                "predictor that is no ensemble"
            )
        self.members = members
        self.latent_dim, self.action_dim, self.frame_skip = member.latent_dim, member.action_dim, member.frame_skip
        made: list[nn.Module] = [build(spec(member)) for _ in range(members)]
        parameters, buffers = stack_module_state(made)
        for name, parameter in parameters.items():
            self.register_parameter(_flat(name), nn.Parameter(parameter.detach()))
        for name, buffer in buffers.items():
            self.register_buffer(_flat(name), buffer)
        # Not a part of this module: its weights are a form to be filled in.
        self.__dict__["member"] = copy.deepcopy(member).to("meta")

    def prepare(self, statistics: dict[str, Any]) -> None:
        """Take in the data's statistics before training."""
        one = build(spec(self.member))
        one.prepare(statistics)
        # What a member has learned, as a batch norm its averages, stays.
        for where, module in one.named_modules():
            if isinstance(module, Standard):
                for name, buffer in module.named_buffers(where):
                    self.get_buffer(_flat(name)).copy_(buffer)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Teacher forcing: latents (B, T, N, D) and the action after each (B, T, A) -> the mean of the next of each."""
        return self.forced(latents, actions).mean(dim=0)

    def forced(self, latents: Tensor, actions: Tensor) -> Tensor:
        """What each member says is next (M, B, T, N, D)."""
        return self._tensor("forward", None, latents, actions)

    def start(self, latents: Tensor, actions: Tensor) -> EnsembleState:
        """Read the context once: latents (B, T, N, D), actions between them (B, T-1, A)."""
        return self._each("start", None, latents, actions)

    def step(self, state: EnsembleState, action: Tensor) -> EnsembleState:
        """Advance every member by one latent of its own under `action` (B, A)."""
        return self._each("step", state, action)

    def latent(self, state: EnsembleState) -> Tensor:
        """The mean of the members' newest latents (B, N, D)."""
        return self._tensor("latent", state).mean(dim=0)

    def expand(self, state: EnsembleState, candidates: int) -> EnsembleState:
        """S candidates of each state, adjacent."""
        return self._each("expand", state, candidates)

    def future(self, state: EnsembleState, actions: Tensor, cut: bool = False) -> Tensor:
        """The mean of the members' latents (B, K, N, D) after each of the actions (B, K, A)."""
        return self.futures(state, actions, cut).mean(dim=0)

    def futures(self, state: EnsembleState, actions: Tensor, cut: bool = False) -> Tensor:
        """The latents that each member imagines (M, B, K, N, D)."""
        return self._tensor("future", state, actions, cut)

    def apart(self) -> list[Dynamics]:
        """The members as predictors of their own, with copies of their weights."""
        made: list[Dynamics] = [build(spec(self.member)) for _ in range(self.members)]
        for number, one in enumerate(made):
            state = {name: getattr(self, _flat(name))[number] for name in one.state_dict()}
            like = next(value for value in state.values() if value.is_floating_point())
            one.to(like).load_state_dict(state)
            one.train(self.training)
        return made

    def _tensor(self, method: str, state: EnsembleState | None, *given: Any) -> Tensor:
        leaves, structure = self._each(method, state, *given)
        answer: Tensor = tree_unflatten(leaves, structure)
        return answer

    def _each(self, method: str, state: EnsembleState | None, *given: Any) -> EnsembleState:
        """Call a method of every member, with its own state and weights and with the same arguments."""
        # The form is no submodule, and a trainer sets the mode of each module that it knows by itself.
        if self.member.training != self.training:
            self.member.train(self.training)
        weights: dict[str, Tensor] = {
            f"member.{name}": self.get_parameter(_flat(name)) for name, _ in self.member.named_parameters()
        }
        weights |= {f"member.{name}": self.get_buffer(_flat(name)) for name, _ in self.member.named_buffers()}
        leaves = [] if state is None else state.leaves
        answer: dict[str, Any] = {}

        def one(weights: Mapping[str, Tensor], tensors: list[Tensor]) -> list[Tensor]:
            own = () if state is None else (tree_unflatten(_fill(leaves, tensors), state.structure),)
            found = functional_call(_Method(self.member, method), dict(weights), (*own, *given))
            answer["leaves"], answer["structure"] = tree_flatten(found)
            return _tensors(answer["leaves"])

        # The fused kernels of attention have no batching rule: vmap would loop over the members.
        with sdpa_kernel(SDPBackend.MATH):
            stacked = vmap(one, randomness="different")(weights, _tensors(leaves))
        return EnsembleState(_fill(answer["leaves"], stacked), answer["structure"])


class _Method(nn.Module):
    """A method of a module as a module's forward, which is what `functional_call` can call."""

    def __init__(self, member: nn.Module, method: str) -> None:
        super().__init__()
        self.member, self.method = member, method

    def forward(self, *given: Any) -> Any:
        return getattr(self.member, self.method)(*given)


def _tensors(leaves: list[Any]) -> list[Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _fill(leaves: list[Any], tensors: list[Tensor]) -> list[Any]:
    """The leaves with these in the place of their tensors."""
    rest = iter(tensors)
    return [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in leaves]


def _flat(name: str) -> str:
    """What a member's tensor is called here; dots would be those of submodules."""
    return MEMBERS + name.replace(".", "/")
