"""An encoder is trained on images of all sizes, and what it knows of their labels is measured meanwhile."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from jepa_wm.data.writer import summarise, write_shard
from jepa_wm.manifest import read_manifest, write_manifest
from pretrain.cli import main

CONFIG = """
stage: pretrain
snapshots: 1
trainer: {max_steps: 4, accelerator: cpu, precision: 32-true, val_check_interval: 2, check_val_every_n_epoch: null,
  limit_val_batches: 1, num_sanity_val_steps: 0, log_every_n_steps: 1, enable_progress_bar: false,
  enable_model_summary: false}
data:
  batch_size: 8
  transform: {class_path: torchvision.transforms.v2.RandomResizedCrop, init_args: {size: 16}}
model:
  encoder: {class_path: jepa_wm.encoders.ViT, init_args: {patch: 8, dim: 24, depth: 1, heads: 3}}
  objectives:
    lejepa:
      class_path: jepa_wm.objectives.LeJEPA
      init_args:
        transform: {class_path: jepa_wm.data.transforms.MultiCrop, init_args: {size: 16, local_size: 8, local_views: 2}}
        width: 8
        hidden: 16
        slices: 8
  warmup: 0.5
"""


@pytest.mark.filterwarnings("default::UserWarning")
def test_images_of_all_sizes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    records = {}
    for split, count in (("train", 24), ("val", 40)):
        samples = []
        for number in range(count):
            data, label = io.BytesIO(), number % 2
            pixels = random.integers(0, 100, (*random.integers(18, 30, 2), 3)) + 150 * label
            Image.fromarray(pixels.astype(np.uint8)).save(data, "png")
            samples.append((f"i{number}", {"png": data.getvalue(), "cls": b"%d" % label}))
        records[split] = summarise([write_shard(tmp_path / "images" / f"{split}-000000.tar", iter(samples))])
    write_manifest(tmp_path / "images", "pack", kind="images", config={}, splits=records)
    config = yaml.safe_load(CONFIG) | {"run": str(tmp_path / "run")}
    config["data"]["folder"] = str(tmp_path / "images")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    main([f"--config={tmp_path / 'config.yaml'}"])
    assert read_manifest(tmp_path / "run", "pretrain")["steps"] == 4
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    known = [line for line in lines if "probe/label_knn" in line]
    # Dark and bright ones: an untrained encoder tells them apart.
    assert len(known) == 2 and all(line["probe/label_knn"] == line["probe/label_linear"] == 1.0 for line in known)
    assert all(line["health/lidar"] >= 1.0 for line in known)
