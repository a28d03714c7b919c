"""How alike the models of a feature store are: each pair of checkpoints, over all pairs of their layers."""

from collections.abc import Iterator
from itertools import combinations

from probes.alignment.maps import LayerMap, layer_map
from probes.convergence.members import Gallery, Member, partners
from probes.convergence.table import Row


def over_training(
    gallery: Gallery, found: dict[str, list[Member]], metrics: tuple[str, ...], permutations: int, seed: int
) -> Iterator[Row]:
    """The best layer pair of every two models at every share of their training, and the whole map at the end.

    Args:
        gallery: what they are compared on.
        found: the checkpoints of each model.
        metrics: files of probes/metrics.
        permutations, seed: of each null.
    """
    for one, other in combinations(found, 2):
        pairs = partners(found[one], found[other])
        for metric in metrics:
            for a, b in pairs:
                result = layer_map(metric, gallery.layers(a), gallery.layers(b), permutations, seed=seed)
                yield _best(gallery, metric, a, b, result)
                if (a, b) == pairs[-1]:
                    yield from _cells(gallery, metric, a, b, result)


def _best(gallery: Gallery, metric: str, a: Member, b: Member, result: LayerMap) -> Row:
    i, j = result.best
    score = result.score
    low, high = score.interval
    return _pair("alignment", metric, a, b)._replace(
        layer=gallery.names(a)[i],
        other_layer=gallery.names(b)[j],
        value=score.value,
        null=score.null,
        null_sd=(score.value - score.null) / score.z if score.z else None,
        z=score.z,
        p=score.p,
        effect=score.effect,
        low=low,
        high=high,
        n=score.n,
    )


def _cells(gallery: Gallery, metric: str, a: Member, b: Member, result: LayerMap) -> Iterator[Row]:
    for i, layer in enumerate(gallery.names(a)):
        for j, other in enumerate(gallery.names(b)):
            value, null, z, p, effect = (float(part[i, j]) for part in result[:5])
            yield _pair("layers", metric, a, b)._replace(
                layer=layer, other_layer=other, value=value, null=null, z=z, p=p, effect=effect, n=result.score.n
            )


def _pair(kind: str, metric: str, a: Member, b: Member) -> Row:
    share = a.share if b.share is None else b.share
    return Row(kind, metric, a.model, a.step, share, other=b.model, other_step=b.step)
