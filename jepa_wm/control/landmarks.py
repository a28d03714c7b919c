"""Places that episodes passed, and the shortest ways between them."""

from pathlib import Path
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from jepa_wm.control.training_episodes import training_episodes
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, read_json, write_json
from jepa_wm.world_model import WorldModel

LEAST = 0.01
"""What a step costs at least, in blocks: nowhere is a way free, or it could go round in circles."""
AT_ONCE = 16
"""Ends whose ways are found at once: few enough for a CPU's caches."""


class Landmarks:
    """A graph of latents. A step from one to the next of its episode costs one block; a step to one that looks alike
    costs their distance over that of a typical block. So ways lead from one episode to another.

    Args:
        latents: (M, N, D); those of an episode adjacent, in order, one block of actions apart.
        episodes: the number of the episode of each, (M,).
        neighbours: like landmarks that each is joined to.
        reach: blocks; what is farther apart is not alike.
        steady: how many times as much as where steps lead most, at most, differences count where they hardly lead: what
            stays as it is in an episode, such as a door. At 1, all differences count alike, and a way may pass from one
            world to the next in steps too small to tell, until the door is where it suits.

    Attributes:
        block: the median distance of latents that are a block of actions apart.
        nodes: where each landmark's steps lead, (M, 1 + neighbours); the first to the next of its episode.
        costs: of these steps, in blocks; infinite where there is none.

    Raises:
        UserError: if there are not more landmarks than neighbours, no episode is two landmarks long, most steps change
            nothing, or a latent is no number.

    Source: Savinov et al. 2018 (arXiv 1803.00653), Eysenbach et al. 2019 (SoRB, arXiv 1906.05253). They learn when one
    observation can be reached from another; here the episodes say it, and the world model's latents what is alike.
    """

    def __init__(
        self, latents: Tensor, episodes: Tensor, neighbours: int = 16, reach: float = 1.0, steady: float = 1.0
    ) -> None:
        self.latents, self.episodes, self.neighbours, self.reach = latents, episodes, neighbours, reach
        self.steady = steady
        count, onward = len(latents), episodes[1:] == episodes[:-1]
        if not 0 < neighbours < count or not onward.any():
            raise UserError(
                f"landmarks: got {count} latents with {neighbours} neighbours each, and {int(onward.sum())} steps in "
                "their episodes; expected more latents than neighbours, and a step or more: use more or longer episodes"
            )
        if not steady >= 1:
            raise UserError(f"landmarks: got steady {steady}; expected 1 or more")
        flat = latents.flatten(1)
        plain = steady == 1 or not torch.isfinite(latents).all()
        self._weights = None if plain else _weights((flat[1:] - flat[:-1])[onward], steady)
        flat = self._weighed(latents)
        self.block = (flat[1:] - flat[:-1])[onward].norm(dim=1).median().item()
        # What is not a number would be searched for ways without end.
        if not (self.block > 0 and torch.isfinite(latents).all()):
            raise UserError(
                f"landmarks: half of the steps change latents by {self.block} or less, or some are no numbers; "
                "expected episodes that move, and finite latents: look at the model and its shards"
            )
        alike, found = self.nearest(latents, neighbours + 1)
        # By their number, since of several that look the same any may be found first.
        itself = found == torch.arange(count)[:, None]
        kept = alike.masked_fill(itself, torch.inf).topk(neighbours, largest=False).indices
        alike = alike.gather(1, kept)
        following = torch.where(F.pad(onward, (0, 1)), 1.0, torch.inf)
        self.nodes = torch.cat([(torch.arange(count) + 1).clamp(max=count - 1)[:, None], found.gather(1, kept)], dim=1)
        self.costs = torch.cat([following[:, None], alike.masked_fill(alike > reach, torch.inf)], dim=1)

    @classmethod
    @torch.no_grad()
    def of_episodes(cls, model: WorldModel, data: str, most: int = 20_000, seed: int = 0, steady: float = 1.0) -> Self:
        """The landmarks of training episodes, drawn at random until `most` frames are encoded.

        Args:
            model: whose latents they are; a frame in `frame_skip` is taken.
            data: folder of shards.
            most: landmarks at most, whole episodes of them.
            seed: draws the episodes.
            steady: see `Landmarks`.

        Raises:
            UserError: if there are no such shards, or they give too few landmarks.
        """
        latents, episodes, skip = [], [], model.dynamics.frame_skip
        for number, episode in training_episodes(data, seed):
            pixels, state = torch.from_numpy(episode.frames[::skip]), torch.from_numpy(episode.state[::skip])
            most -= len(pixels)
            if most < 0:
                break
            latents.append(model.encode(pixels[None], state[None])[0].cpu())
            episodes.append(torch.full((len(pixels),), number))
        if not latents:
            raise UserError(f"landmarks: no whole training episode of {data} fits; raise most, or mend the shards")
        return cls(torch.cat(latents), torch.cat(episodes), steady=steady)

    def save(self, folder: str | Path) -> None:
        """Save them into `folder`: safetensors and JSON."""
        with atomic_path(folder) as aside:
            aside.mkdir()
            save_file(
                {"latents": self.latents.contiguous(), "episodes": self.episodes}, aside / "landmarks.safetensors"
            )
            settings = {"neighbours": self.neighbours, "reach": self.reach, "steady": self.steady}
            write_json(aside / "landmarks.json", settings)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """What `save` saved.

        Raises:
            UserError: if a file is missing or broken.
        """
        path = Path(folder) / "landmarks.safetensors"
        settings = read_json(path.with_suffix(".json"))
        try:
            return cls(**load_file(path), **settings)  # type: ignore[arg-type]
        except (SafetensorError, OSError, TypeError) as error:
            raise UserError(f"{path} holds no landmarks ({error}); make them again") from error

    def nearest(self, latents: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Blocks to the `count` landmarks nearest to latents (E, N, D), and their numbers, both (E, count).

        Raises:
            UserError: if the latents are of another model.
        """
        import faiss

        if latents.shape[1:] != self.latents.shape[1:]:
            raise UserError(
                f"landmarks: got latents (N, D) {tuple(latents.shape[1:])}; expected {tuple(self.latents.shape[1:])}: "
                "make landmarks with the model that plans"
            )
        # faiss brings an OpenMP of its own, with a thread for every core whatever torch was told.
        faiss.omp_set_num_threads(torch.get_num_threads())
        gallery, queries = (self._weighed(rows).contiguous().numpy() for rows in (self.latents, latents))
        squares, found = faiss.knn(queries, gallery, count)
        away = torch.from_numpy(squares).clamp(min=0).sqrt() / self.block
        return away.clamp(min=LEAST), torch.from_numpy(found)

    def _weighed(self, latents: Tensor) -> Tensor:
        """Latents (M, N, D) as rows (M, N * D), by whose differences they are alike."""
        flat = latents.detach().cpu().float().flatten(1)
        return flat if self._weights is None else flat @ self._weights

    def ways_to(self, ends: Tensor) -> "Ways":
        """The shortest ways from everywhere to the landmarks numbered `ends` (E,)."""
        left = torch.cat([self._left(some) for some in ends.split(AT_ONCE)], dim=1)
        return Ways(self, ends, left)

    def _left(self, ends: Tensor) -> Tensor:
        """Blocks (M, E) from each landmark to each end; infinite where no way leads there."""
        environments = torch.arange(len(ends))
        left = torch.full((len(self.latents), len(ends)), torch.inf)
        # What is alike is so both ways, but an end may be among the nearest of none of its own.
        left[self.nodes[ends, 1:], environments[:, None]] = self.costs[ends, 1:]
        left[ends, environments] = 0
        while True:
            shorter = torch.minimum(left, (self.costs[..., None] + left[self.nodes]).amin(dim=1))
            if torch.equal(shorter, left):
                return left
            left = shorter


def _weights(steps: Tensor, steady: float) -> Tensor:
    """What steps (n, P) are multiplied by, (P, P): the less they lead somewhere, the more, up to `steady` times."""
    squares, ways = torch.linalg.eigh((steps.mT @ steps).double())
    shares = (squares / squares[-1]).clamp(min=steady**-2)
    return (ways * shares.rsqrt()).to(steps)


class Ways(NamedTuple):
    """Shortest ways to an end for each of E environments.

    Attributes:
        landmarks: whose ways they are.
        ends: numbers of landmarks, (E,).
        left: blocks from each landmark to the end, (M, E); infinite where no way leads there.
    """

    landmarks: Landmarks
    ends: Tensor
    left: Tensor

    def of(self, environments: Tensor) -> "Ways":
        """Those of some environments, bool (E,)."""
        return Ways(self.landmarks, self.ends[environments], self.left[:, environments])

    def ahead(self, seen: Tensor, blocks: float) -> tuple[Tensor, Tensor]:
        """Where the ways from latents (E, N, D) lead within some blocks, (E, N, D), and what is left of them all, (E,).

        The first landmark at least so far ahead is given, or the last before the end. Where no way leads to the end,
        infinitely much is left, and the landmark means nothing.
        """
        here, marks = torch.arange(len(seen)), self.landmarks
        away, found = marks.nearest(seen, marks.neighbours)
        left, by = (away + self.left[found, here[:, None]]).min(dim=1)
        node, gone = found[here, by], away[here, by]
        while True:
            onward, by = (marks.costs[node] + self.left[marks.nodes[node], here[:, None]]).min(dim=1)
            moves = (gone < blocks) & (onward <= self.left[node, here]) & onward.isfinite()
            if not moves.any():
                return marks.latents[node].to(seen), left.to(seen.device)
            gone = torch.where(moves, gone + marks.costs[node, by], gone)
            node = torch.where(moves, marks.nodes[node, by], node)
