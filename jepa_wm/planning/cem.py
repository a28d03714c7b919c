"""The cross-entropy method."""

import torch
from torch import Tensor

from jepa_wm.contracts import Cost, Plan
from jepa_wm.errors import UserError


class CEM:
    """Sample, keep the best, fit a Gaussian to them, repeat.

    Candidates are clipped to the bounds before they are judged. The mean of each round is among its
    candidates and the best ever seen is returned, so no round can lose it. All environments share
    the noise, so an environment's plan does not depend on the batch it is planned in.

    Args:
        samples: candidates S a round.
        elites: how many of them the Gaussian is fitted to.
        iterations: rounds.
        momentum: share of the old mean and spread kept at each fit.
        min_std: spread below which no dimension falls, in units of the action.

    Source: Rubinstein & Kroese 2004; as a planner in latent space: PlaNet (arXiv 1811.04551).
    """

    def __init__(
        self,
        samples: int = 256,
        elites: int = 25,
        iterations: int = 10,
        momentum: float = 0.1,
        min_std: float = 0.05,
    ) -> None:
        if not 0 < elites <= samples or iterations < 1:
            raise UserError(
                f"CEM: got samples {samples}, elites {elites}, iterations {iterations}; "
                "expected 0 < elites <= samples and iterations >= 1"
            )
        self.samples, self.elites, self.iterations = samples, elites, iterations
        self.momentum, self.min_std = momentum, min_std

    def plan(
        self, cost: Cost, mean: Tensor, std: Tensor, low: Tensor, high: Tensor, generator: torch.Generator
    ) -> Plan:
        """Search from mean (E, K, A) and std (E, K, A) within low and high (A,)."""
        envs = torch.arange(mean.shape[0], device=mean.device)
        mean = mean.clamp(low, high)
        best, best_cost = mean, torch.full((mean.shape[0],), torch.inf, device=mean.device)
        trace: dict[str, list[Tensor]] = {"cost": [], "spread": []}
        for _ in range(self.iterations):
            noise = torch.randn(self.samples - 1, *mean.shape[1:], generator=generator).to(mean.device)
            candidates = (mean[:, None] + std[:, None] * noise).clamp(low, high)
            candidates = torch.cat([mean[:, None], candidates], dim=1)
            costs = cost(candidates)
            order = costs.topk(self.elites, dim=1, largest=False).indices
            first = order[:, 0]
            better = costs[envs, first] < best_cost
            best = torch.where(better[:, None, None], candidates[envs, first], best)
            best_cost = torch.where(better, costs[envs, first], best_cost)
            elites = candidates[envs[:, None], order]
            mean = torch.lerp(elites.mean(dim=1), mean, self.momentum)
            std = torch.lerp(elites.std(dim=1, correction=0), std, self.momentum).clamp(min=self.min_std)
            trace["cost"].append(best_cost)
            trace["spread"].append(std.mean(dim=(1, 2)))
        return Plan(best, best_cost, {name: torch.stack(values) for name, values in trace.items()})
