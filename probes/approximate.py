"""Approximate nearest neighbours by cosine, for galleries too large for exact search, with their recall audited."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from jepa_wm.errors import UserError
from probes.neighbours import nearest, not_self, rescore

# Links of a node of HNSW.
LINKS = 32
# Rows that k-means sees for each cell: more take longer and find the same cells.
TRAINING = 64


class Approximate(NamedTuple):
    """Neighbours (n, k), nearest first, -1 where none was found, and the share of the exact ones among them."""

    lists: Tensor
    recall: float


def approximate_neighbours(
    x: Tensor,
    k: int,
    index: Literal["hnsw", "ivf"] = "ivf",
    effort: int = 64,
    least: float = 0.99,
    audited: int = 1000,
) -> Approximate:
    """Neighbours of each row of x (n, d) among the others, as `neighbours`, from an index that looks at few of them.

    The recall is the share of the exact neighbours found, over `audited` random rows. An overlap of two such
    lists is about recall² of the true one, so a low recall is refused instead of reported as less alignment.
    HNSW is built by several threads in no fixed order, so its lists differ a little between runs; IVF's do not.

    Args:
        x: features, of any float type, on the CPU.
        k: neighbours.
        index: hnsw, a graph that is walked (slow to build, quick to search), or ivf, cells of k-means.
        effort: nodes that HNSW keeps in view, or cells that IVF looks into, for each query.
        least: recall that is asked for.
        audited: rows whose exact neighbours are searched.

    Raises:
        UserError: recall is below `least`, the index is unknown, or as in `neighbours`.
    """
    if index not in ("hnsw", "ivf"):
        raise UserError(f'index: got {index!r}, expected "hnsw" or "ivf"; exact search is probes.neighbours.neighbours')
    sample = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:audited]
    # The exact ones first: they are quick to search, and tell what is wrong with the input.
    exact = nearest(x, k, sample)[1]
    lists = _found(x, k, index, effort)
    recall = (lists[sample][:, :, None] == exact[:, None, :]).any(dim=2).double().mean().item()
    if recall < least:
        raise UserError(
            f"{index} with effort {effort} found {recall:.1%} of the {k} nearest of {len(x)} rows, expected "
            f"{least:.1%}: overlaps would come out about {1 - recall**2:.1%} too low; raise the effort or search exactly"
        )
    return Approximate(lists, recall)


def _found(x: Tensor, k: int, kind: str, effort: int) -> Tensor:
    """The lists (n, k) of an index of x."""
    import faiss

    # faiss brings an OpenMP of its own, with a thread for every core whatever torch was told.
    faiss.omp_set_num_threads(torch.get_num_threads())
    n, d = x.shape
    if kind == "hnsw":
        index = faiss.index_factory(d, f"HNSW{LINKS}", faiss.METRIC_INNER_PRODUCT)
        faiss.ParameterSpace().set_index_parameter(index, "efSearch", max(effort, k + 1))
    else:
        # 4 sqrt(n) cells, as faiss advises, but no fewer rows a cell than it warns of.
        cells = max(1, min(int(4 * n**0.5), n // 39))
        index = faiss.index_factory(d, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
        faiss.extract_index_ivf(index).cp.max_points_per_centroid = TRAINING
        faiss.ParameterSpace().set_index_parameter(index, "nprobe", min(effort, cells))
    unit = F.normalize(x.detach().float(), dim=1).contiguous().numpy()
    index.train(unit)
    index.add(unit)
    found = torch.from_numpy(index.search(unit, k + 1)[1])
    lists = rescore(x, x, found, k + 1)[1]
    return lists[not_self(lists, torch.arange(n))].view(n, k)
