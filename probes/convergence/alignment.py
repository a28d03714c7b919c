"""How alike the models of a feature store are: each pair of checkpoints, over all pairs of their layers."""

from collections.abc import Iterator
from itertools import combinations

from tqdm import tqdm

from probes.alignment.maps import LayerMap, layer_map
from probes.convergence.left_out import LeftOut
from probes.convergence.members import Gallery, Meeting, Member, partners
from probes.convergence.table import Row
from probes.store import titled


def over_training(
    gallery: Gallery,
    found: dict[str, list[Member]],
    metrics: tuple[str, ...],
    permutations: int,
    seed: int,
    left_out: LeftOut,
) -> Iterator[Row]:
    """The best layer pair of every two models at every share of their training, and the whole map at the end.

    Args:
        gallery: what they are compared on.
        found: the checkpoints of each model.
        metrics: files of probes/metrics.
        permutations, seed: of each null.
        left_out: notes the pairs that a metric refuses.
    """
    for one, other in tqdm(list(combinations(found, 2)), desc="pairs of models", leave=False, disable=None):
        meetings = partners(found[one], found[other])
        for metric in metrics:
            for met in meetings:
                with left_out.noted(f"{metric} of {titled(*met.one[:2])} and {titled(*met.other[:2])}"):
                    x, y = gallery.layers(met.one), gallery.layers(met.other)
                    result = layer_map(metric, x, y, permutations, seed=seed)
                    yield _best(gallery, metric, met, result)
                    if met == meetings[-1]:
                        yield from _cells(gallery, metric, met, result)


def _best(gallery: Gallery, metric: str, met: Meeting, result: LayerMap) -> Row:
    i, j = result.best
    score = result.score
    low, high = score.interval
    return _pair("alignment", metric, met)._replace(
        layer=gallery.names(met.one)[i],
        other_layer=gallery.names(met.other)[j],
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


def _cells(gallery: Gallery, metric: str, met: Meeting, result: LayerMap) -> Iterator[Row]:
    for i, layer in enumerate(gallery.names(met.one)):
        for j, other in enumerate(gallery.names(met.other)):
            value, null, z, p, effect = (float(part[i, j]) for part in result[:5])
            yield _pair("layers", metric, met)._replace(
                layer=layer, other_layer=other, value=value, null=null, z=z, p=p, effect=effect, n=result.score.n
            )


def _pair(kind: str, metric: str, met: Meeting) -> Row:
    one, other, share = met
    return Row(kind, metric, one.model, one.step, share, other=other.model, other_step=other.step)
