"""A loss that is not a number ends the run, and the message and the files say where it came from."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jepa_wm.contracts import Batch, Objective
from jepa_wm.errors import UserError
from pretrain.callbacks.nan_guard import NanGuard
from pretrain.callbacks.resumable import Resumable
from pretrain.callbacks.snapshots import Snapshots
from pretrain.module import Training


class Poisoned(Objective):
    """What is not finite from the third step on: a term, the loss, or the gradient of a finite loss alone."""

    def __init__(self, encoder: Any, where: str) -> None:
        super().__init__()
        self.encoder, self.where = encoder, where

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        mean = self.encoder.pooled(batch["pixels"][:, 0]).square().mean()
        late = self.training and batch["progress"] >= 0.5
        terms = {"loss": mean, "extra": mean.detach()}
        if late and self.where == "gradient":
            # The root of nought: nought itself, and of infinite slope.
            terms["loss"] = mean + (mean * 0).sqrt()
        elif late:
            terms[self.where] = terms[self.where] * float("nan")
        return terms

    def exported(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("loss", "term 'loss' of objective 'poisoned' is nan"),
        ("extra", "term 'extra' of objective 'poisoned' is nan"),
        ("gradient", "the gradient's norm is nan"),
    ],
)
def test_the_run_ends_and_the_batch_is_kept(fit, vit, dropped, tmp_path: Path, where: str, said: str) -> None:
    training = Training(vit(), {"fine": dropped, "poisoned": lambda encoder: Poisoned(encoder, where)})
    with pytest.raises(UserError) as caught:
        fit(training, tmp_path, NanGuard(tmp_path), Resumable(tmp_path, steps=1))
    message = str(caught.value)
    assert message.startswith("step 3: ") and said in message and "'fine'" not in message
    record = json.loads((tmp_path / "nan-batch.json").read_text())
    batch = torch.load(tmp_path / "nan-batch.pt", weights_only=True)
    # What the third batch of this order is made of, drawn again.
    expected = list(fit(Training(vit(), {"fine": dropped}), tmp_path / "again").train_dataloader())[2]
    assert torch.equal(batch["pixels"], expected["pixels"]) and batch["captions"] == expected["captions"]
    assert record["index"] == expected["index"].tolist() and str(expected["index"].tolist()[0]) in message
    assert record["step"] == 3 and record["values"]["fine/loss"] != "nan"
    # What was saved before is from before.
    state = torch.load(tmp_path / "resume.ckpt", weights_only=True)
    assert state["global_step"] == 2
    assert all(value.isfinite().all() for value in state["state_dict"].values())


def test_a_look_is_due_every_few_batches_on_an_accelerator_and_before_each_save(tmp_path: Path) -> None:
    guard = NanGuard(tmp_path, every=3)

    class Module(Training):
        def __init__(self) -> None:
            super().__init__(nn.Identity(), {})

    class Trainer:
        global_step, global_rank = 7, 1

    module, trainer = Module(), Trainer()

    def batch(value: float, device: str) -> None:
        module.terms = {"masked/loss": torch.tensor(value, device=device)}
        guard.on_train_batch_end(trainer, module, None, {"index": torch.tensor([[4, 2]])}, 0)  # type: ignore[arg-type]

    # Values on "meta" stand for a device: to look at one would raise.
    batch(1.0, "meta")
    batch(1.0, "meta")
    assert len(guard._seen) == 2
    guard._seen = [
        one._replace(values=torch.tensor([value])) for one, value in zip(guard._seen, (1.0, float("inf")), strict=True)
    ]
    with pytest.raises(UserError, match=r"'loss' of objective 'masked' is inf; the batch of samples \[\[4, 2\]\]"):
        guard.on_save_checkpoint(trainer, module, {})  # type: ignore[arg-type]
    assert (tmp_path / "nan-batch-1.pt").is_file()
    for value in (1.0, 2.0, 3.0):
        batch(value, "cpu")
    assert guard._seen == []


@pytest.mark.parametrize("every", [None, 10])
def test_no_snapshot_is_taken_of_what_is_lost(fit, vit, tmp_path: Path, every: int | None) -> None:
    """The third step's loss is not a number, and a snapshot is due after it, long before the guard's next look."""
    guard = NanGuard(tmp_path, every)
    with pytest.raises(UserError, match="step 3: term 'loss'"):
        training = Training(vit(), {"poisoned": lambda encoder: Poisoned(encoder, "loss")})
        fit(training, tmp_path, guard, Snapshots(tmp_path, 4, guard))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [f"step-00000{i}" for i in range(3)]
    assert not (tmp_path / "model").exists()


def test_what_is_said_may_change_between_two_looks(tmp_path: Path) -> None:
    """The gradient's norm is not known before the first step, and some terms begin later."""
    guard, training = NanGuard(tmp_path, every=3), Training(nn.Identity(), {})

    class Trainer:
        global_step, global_rank = 0, 0

    def batch(terms: list[float], norm: float | None) -> None:
        training.terms = {f"dino/{number}": torch.tensor(value) for number, value in enumerate(terms)}
        training.gradient_norm = None if norm is None else torch.tensor(norm)
        guard.on_train_batch_end(Trainer(), training, None, {}, 0)  # type: ignore[arg-type]

    batch([1.0], None)
    batch([1.0], 2.0)
    batch([1.0, 3.0], 2.0)
    assert guard._seen == []
    batch([1.0], None)
    batch([1.0, float("nan")], 2.0)
    with pytest.raises(UserError, match="term '1' of objective 'dino' is nan"):
        batch([1.0], 2.0)
