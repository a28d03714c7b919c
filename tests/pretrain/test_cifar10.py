"""From torchvision's files of CIFAR-10 to kNN and a linear probe, by the commands of docs/objectives.md."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from jepa_wm.cli import main
from jepa_wm.manifest import read_manifest
from probes.heads.logistic import logistic_probe
from probes.knn import knn_probe
from probes.store import FeatureStore

CLASSES, EACH = 10, 60


def write_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random pictures as CIFAR-10's archive holds them; each class has a colour, and the checksums are their own."""
    random, place = np.random.default_rng(0), folder / CIFAR10.base_folder
    place.mkdir(parents=True)
    colours = random.integers(0, 256, (CLASSES, 3, 1))

    def write(name: str, content: dict) -> str:
        data = pickle.dumps(content)
        (place / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def batch() -> dict:
        labels = random.permutation(np.arange(CLASSES).repeat(EACH // 5)).tolist()
        noise = random.integers(-60, 61, (len(labels), 3, 32 * 32))
        return {"data": (colours[labels] + noise).clip(0, 255).astype(np.uint8).reshape(-1, 3072), "labels": labels}

    for files in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, files, [[name, write(name, batch())] for name, _ in getattr(CIFAR10, files)])
    names = {"label_names": [str(number) for number in range(CLASSES)]}
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": write(CIFAR10.meta["filename"], names)})


@pytest.mark.slow
@pytest.mark.filterwarnings("default::UserWarning")
def test_packed_pretrained_and_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar10(tmp_path / "data", monkeypatch)
    source = ["--source=TorchvisionDataset", "--source.dataset=torchvision.datasets.CIFAR10"]
    main(["shards", "pack", *source, "--source.dataset.root=data", "--held_out=0.4", "--out=shards/cifar10"])
    packed = read_manifest(tmp_path / "shards" / "cifar10", "pack")
    assert packed["frame_shape"] == [3, 32, 32] and packed["members"]["cls"] == CLASSES * EACH
    small = ["--data.batch_size=64", "--data.workers=0", "--trainer.val_check_interval=4", "--trainer.accelerator=cpu"]
    main(
        [
            "pretrain",
            "--config=recipes/lejepa_cifar10",
            "--trainer.max_steps=8",
            "--trainer.limit_val_batches=1",
            *small,
        ]
    )
    logged = [json.loads(line) for line in Path("runs/cifar10/metrics.jsonl").read_text().splitlines()]
    known = [line["probe/label_knn"] for line in logged if "probe/label_knn" in line]
    assert len(known) == 2 and known[-1] > 0.5
    models = "--models=[runs/cifar10, 'random:runs/cifar10']"
    main(["probe", "extract", models, "--data=shards/cifar10", "--frames=50000", "--out=runs/cifar10/features"])
    store = FeatureStore("runs/cifar10/features")
    splits = []
    for split in ("train", "val", "test"):
        labels = store.rows(split).labels
        assert labels is not None
        splits.append((store.features("runs/cifar10", None, "latent", "mean", split), labels))
    for probe in (knn_probe, logistic_probe):
        score = probe(*splits).score
        assert score.value > 0.5 > 0.2 > score.null
