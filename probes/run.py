"""`jepa-wm probe`: what the latents know, over training steps and beside two controls."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from jepa_wm.contracts import Score
from jepa_wm.data import EpisodeShards
from jepa_wm.encoders import TextAlignment, load_encoder, load_text
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path
from jepa_wm.manifest import is_done, read_manifest, stage_run
from jepa_wm.world_model import WorldModel
from probes.features import Rows, encode_splits, read_splits
from probes.fresh import fresh
from probes.health import rankme, spread
from probes.imagine import write_imagination
from probes.knn import knn_classify
from probes.linear import ridge_probe
from probes.metrics.cka import cka
from probes.metrics.mutual_knn import mutual_knn
from probes.retrieval import recall_at_k
from probes.targets import targets

LEAST = 20

Result = dict[str, Any]


def probe(
    data: str,
    pretrain: str | None,
    forecast: str,
    out: str,
    frames: int = 3000,
    pixel_frames: int = 1500,
    seed: int = 0,
) -> None:
    """Measure what the latents know, at each checkpoint of two runs and beside two controls.

    Ridge probes of position and of the factors of variation that vary, RankMe and spread, and how latents
    and captions agree, all on held-out episodes, go to results.jsonl; in the two rooms also kNN of the
    eighteen regions, and retrieval by region. Position is the whole state: in Push-T angle and velocity too. Of runs
    without text alignment, captions are left out.
    The controls are an encoder that was never trained and the raw pixels. The final world model is rolled
    out along held-out episodes: imagination.png and drift.json.

    Args:
        data: folder of shards.
        pretrain: run folder of `jepa-wm pretrain`; None where the encoder was trained with the dynamics.
        forecast: run folder of `jepa-wm forecast`.
        out: folder for the results.
        frames: frames that probes are trained on; a tenth as many choose penalties, two fifths test.
        pixel_frames: training frames of the raw-pixel control.
        seed: seeds the choice of frames, the untrained encoder, nulls and intervals.

    Raises:
        UserError: if a folder is missing, unfinished or of another stage, holds no checkpoints, or a
            checkpoint lacks its encoder; or if a number is out of range.
    """
    config = dict(locals())
    if min(frames, pixel_frames) < LEAST:
        raise UserError(f"probe: got frames {frames}, pixel_frames {pixel_frames}; expected at least {LEAST} each")
    checkpoints = [
        (stage, step, path)
        for stage, run in (("pretrain", pretrain), ("forecast", forecast))
        if run is not None
        for step, path in find_checkpoints(run, stage)
    ]
    test_shards = EpisodeShards(data, "test")
    folder = Path(out)
    if is_done(out, "probe", config):
        return
    model = WorldModel.from_pretrained(forecast)
    with stage_run(folder, "probe", config) as fields:
        rows = read_splits(data, frames, seed)
        results: list[Result] = []
        for name, step, path in tqdm(checkpoints, desc="checkpoints", leave=False, disable=None):
            latents = encode_splits(load_encoder(str(path)), rows)
            found = [*knowledge(latents, rows, seed), *health(latents["test"])]
            if (path / "text").is_dir():
                found += language(load_text(str(path)), latents["test"], rows["test"])
            results += _tag(name, step, found)
        results += _controls(model.encoder, rows, pixel_frames, seed)
        write_imagination(folder, model, test_shards, rows)
        with atomic_path(folder / "results.jsonl") as aside:
            aside.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in results))
        fields["dim"] = model.encoder.latent_dim
    print(f"{len(results)} measurements at {len(checkpoints)} checkpoints: {folder / 'results.jsonl'}")


def find_checkpoints(run: str, stage: str) -> list[tuple[int, Path]]:
    """Step and folder of each checkpoint of a finished run of `stage`, in order.

    Raises:
        UserError: if the run is missing, unfinished, of another stage, or without checkpoints.
    """
    read_manifest(run, stage)
    folder = Path(run) / "checkpoints"
    found = [(path.name.removeprefix("step-"), path) for path in folder.glob("step-*") if path.is_dir()]
    steps = sorted((int(number), path) for number, path in found if number.isdecimal())
    if not steps:
        raise UserError(f"{folder} holds no checkpoint; expected folders like step-000100: run {stage} again")
    return steps


def knowledge(features: dict[str, Tensor], rows: dict[str, Rows], seed: int = 0) -> Iterator[Result]:
    """Probe features (n, d) of each split for position, which is the whole state, factors of variation and region.

    Where there are no regions they are left out. A factor's columns that are constant in a split have no R²
    and are left out. The kNN accuracy has no interval: frames of an episode are not independent.
    """
    groups = torch.cat([part.episode for part in rows.values()])
    for name, target in targets(rows).items():
        train, val, test = ((features[split], target[split]) for split in rows)
        metric = "position_r2" if name == "position" else f"factor_{name}"
        yield _result(metric, ridge_probe(train, val, test, groups, seed).r2)
    train_region, test_region = rows["train"].region, rows["test"].region
    if train_region is not None and test_region is not None:
        train_x, test_x = features["train"], features["test"]
        score = knn_classify(train_x, train_region, test_x, test_region, min(20, len(train_x)))
        yield {**_result("region_knn", score), "interval": None}


def health(latents: Tensor) -> Iterator[Result]:
    """Effective rank, and least and median spread, of latents (n, D)."""
    deviation = spread(latents)
    values = {"rankme": rankme(latents), "spread_min": deviation["min"], "spread_median": deviation["median"]}
    for metric, value in values.items():
        yield {"metric": metric, "value": value, "null": None, "interval": None, "n": len(latents)}


@torch.no_grad()
def language(text: TextAlignment, latents: Tensor, rows: Rows) -> Iterator[Result]:
    """Compare latents (n, D) of frames with their captions and, where there are regions, retrieve frames by caption.

    Mutual kNN takes one frame an episode, so that neighbours are not merely moments later. Each
    distinct caption of these episodes is a query once; a frame is relevant to it if the disc is in the
    region that it names, whatever it says of the looks. Where latents or captions all point the same way nobody is
    anyone's neighbour: mutual kNN is then left out, and it is said why.
    """
    sentences = sorted(set(rows.captions))
    vectors = text.text(sentences)
    own = torch.tensor([sentences.index(caption) for caption in rows.captions])
    alone = torch.cat([torch.tensor([True]), rows.episode[1:] != rows.episode[:-1]])
    # Ten neighbours need a gallery that is much larger; a smaller one gets fewer.
    k = max(1, min(10, int(alone.sum()) // 10))
    try:
        yield _result("mutual_knn", mutual_knn(latents[alone], vectors[own][alone], k))
    except UserError as error:
        # An early checkpoint may well have collapsed, which is no reason to measure nothing else.
        print(f"mutual_knn is left out: {error}")
    yield _result("cka", cka(latents, vectors[own]))
    if rows.region is not None:
        named = torch.zeros(len(sentences), dtype=torch.long)
        named[own] = rows.region
        found = text.image(latents[:, None])
        yield _result("recall_at_1", recall_at_k(vectors, found, named[:, None] == rows.region))


def _controls(encoder: nn.Module, rows: dict[str, Rows], pixel_frames: int, seed: int) -> list[Result]:
    """The same probes on an encoder of the same configuration that was never trained, and on raw pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        untrained = fresh(encoder)
    latents = encode_splits(untrained, rows)
    results = _tag("random_init", None, [*knowledge(latents, rows, seed), *health(latents["test"])])
    fewer = {**rows, "train": rows["train"].first(pixel_frames)}
    pixels = {split: part.pixels.flatten(1).float() for split, part in fewer.items()}
    return results + _tag("pixels", None, list(knowledge(pixels, fewer, seed)))


def _result(metric: str, score: Score) -> Result:
    return {"metric": metric, **score._asdict()}


def _tag(model: str, step: int | None, results: list[Result]) -> list[Result]:
    return [{"model": model, "step": step, **result} for result in results]
