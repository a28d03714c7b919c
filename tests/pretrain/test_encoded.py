"""Latents that were encoded once stand for the frames that they were made of, of the right encoder alone."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jepa_wm.checkpoint import save_modules
from jepa_wm.data.episodes import LATENTS, read_latents
from jepa_wm.data.verbs.merge import merge
from jepa_wm.data.verbs.split import split
from jepa_wm.data.verbs.stored import StoredSamples
from jepa_wm.data.verbs.verify import verify
from jepa_wm.data.writer import summarise, write_shard
from jepa_wm.dynamics import TransformerDynamics, Trunk
from jepa_wm.dynamics.proposal import Proposal
from jepa_wm.encode import encode
from jepa_wm.encoders import GridPool, PatchFrames, StateFrames, StateToken, ViT, load_encoder
from jepa_wm.encoders.frames import Frames, PooledFrames
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest, write_manifest
from jepa_wm.objectives import Forecasting, Proposing
from pretrain.data import ClipDataModule


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder") / "model"
    encoder = ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(6, 2))
    save_modules(folder, {"encoder": encoder})
    return folder


@pytest.fixture(scope="module")
def encoded(model: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoded") / "shards"
    encode(str(model), str(shards), str(folder))
    return folder


def data(folder: Path, latents: bool) -> ClipDataModule:
    return ClipDataModule(str(folder), frames=3, frame_skip=2, batch_size=8, clips_per_episode=2, latents=latents)


def forecasting(encoder: torch.nn.Module, frames: Frames | None = None, freeze: bool = True) -> Forecasting:
    torch.manual_seed(1)
    dynamics = TransformerDynamics(6, (1, 1), 2, 2, Trunk(12, 1, 2), residual=False)
    return Forecasting(encoder, dynamics, frames=frames, freeze_encoder=freeze)  # type: ignore[arg-type]


@torch.no_grad()
def test_a_clip_of_latents_is_the_clip_of_frames_encoded(model: Path, shards: Path, encoded: Path) -> None:
    encoder = load_encoder(str(model))
    seen, stored = (next(iter(data(*each).train_dataloader())) for each in ((shards, False), (encoded, True)))
    assert "pixels" not in stored
    for name in ("index", "actions", "state", "reward"):
        torch.testing.assert_close(stored[name], seen[name])
    latents = PooledFrames()(encoder, seen["pixels"])
    # Bfloat16 where they were encoded, float16 where they were stored.
    torch.testing.assert_close(stored["latents"], latents, rtol=0, atol=0.02 * latents.std().item())
    objective = forecasting(encoder)
    torch.testing.assert_close(objective(stored)["loss"], objective(seen)["loss"], rtol=0.01, atol=0)


def test_shards_with_latents_keep_all_that_there_was(shards: Path, encoded: Path) -> None:
    before, after = (data(folder, False) for folder in (shards, encoded))
    assert read_manifest(encoded)["environment"] == read_manifest(shards)["environment"]
    for name in ("action_mean", "action_std", "state_mean", "state_std"):
        np.testing.assert_allclose(after.statistics[name], before.statistics[name], rtol=1e-9)
    seen, again = (next(iter(each.train_dataloader())) for each in (before, after))
    assert torch.equal(seen["pixels"], again["pixels"])


def test_latents_of_another_encoder_or_while_it_learns_are_refused(model: Path, encoded: Path) -> None:
    statistics = data(encoded, True).statistics
    encoder = load_encoder(str(model))
    forecasting(encoder).prepare(statistics)
    with pytest.raises(UserError, match=r"data\.latents is true, but the encoder learns"):
        forecasting(load_encoder(str(model)).requires_grad_(True), freeze=False).prepare(statistics)
    other = load_encoder(str(model))
    next(other.parameters()).data[0] += 1e-3
    with pytest.raises(UserError, match=r"data\.folder has no latents of this encoder"):
        forecasting(other).prepare(statistics)
    # What reads frames does not ask.
    forecasting(other).prepare(data(encoded, False).statistics)


def test_what_cannot_be_encoded_or_read_is_said_at_once(
    model: Path, shards: Path, encoded: Path, tmp_path: Path
) -> None:
    for frames in (StateFrames(PooledFrames(), 2), StateToken(PatchFrames(), 2)):
        with pytest.raises(UserError, match=rf"encode\.frames: got {type(frames).__name__}, which reads the state"):
            encode(str(model), str(shards), str(tmp_path / "out"), frames)
    with pytest.raises(UserError, match="has no latents of its frames; `jepa-wm encode` makes shards that have"):
        data(shards, True).train_dataloader()
    changed = data(encoded, True)
    changed.transform = torch.nn.Identity()
    with pytest.raises(UserError, match="a transform is for pixels"):
        changed.train_dataloader()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("latents", "why"),
    [
        (np.zeros((7, 1, 6), np.float16), r"latents are float16 \(7, 1, 6\); expected float16 \(8, N, D\)"),
        (np.zeros((8, 6), np.float16), r"latents are float16 \(8, 6\)"),
        (np.zeros((8, 1, 6), np.float32), "latents are float32"),
        (np.full((8, 1, 6), np.inf, np.float16), "NaN or infinity"),
        (None, r"it lacks 'latents\.npy'"),
    ],
)
def test_broken_latents_say_what_is_wrong(latents: np.ndarray | None, why: str) -> None:
    file = io.BytesIO()
    if latents is not None:
        np.save(file, latents, allow_pickle=False)
    with pytest.raises(ValueError, match=why):
        read_latents({} if latents is None else {LATENTS: file.getvalue()}, 8)


def test_patches_are_encoded_too_and_again_is_done(
    model: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "patches"
    for _ in range(2):
        encode(str(model), str(shards), str(out), PatchFrames())
    assert "complete already" in capsys.readouterr().out
    assert next(iter(data(out, True).train_dataloader()))["latents"].shape == (8, 3, 16, 24)


def test_latents_stay_bound_to_their_encoder_when_shards_are_divided_anew_or_put_together(
    model: Path, shards: Path, encoded: Path, tmp_path: Path
) -> None:
    divided, other, both = (tmp_path / name for name in ("divided", "other", "both"))
    split(str(encoded), str(divided), held_out=0.2)
    assert data(divided, True).statistics["encoded_by"] == data(encoded, True).statistics["encoded_by"]
    forecasting(load_encoder(str(model))).prepare(data(divided, True).statistics)
    encode(str(model), str(shards), str(other), PatchFrames())
    merge([str(encoded), str(other)], str(both))
    with pytest.raises(UserError, match="has no latents of its frames"):
        data(both, True).train_dataloader()


def test_latents_that_are_no_numbers_leave_their_episode_out(
    model: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_encoder(str(model))
    encoder.norm.bias.data[:] = 1e9  # type: ignore[union-attr,operator]
    save_modules(tmp_path / "model", {"encoder": encoder})
    with pytest.raises(UserError, match="hold NaN, or numbers too large for float16"):
        encode(str(tmp_path / "model"), str(shards), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_verify_reads_latents_too(encoded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(str(encoded))
    source = StoredSamples([(str(encoded), "val")], [""])
    items = [(source.keys[number], dict(source.members(number))) for number in range(len(source))]
    file = io.BytesIO()
    np.save(file, np.zeros((2, 1, 6), np.float16))
    items[1][1][LATENTS] = file.getvalue()
    write_shard(tmp_path / "val-000000.tar", items)
    capsys.readouterr()
    with pytest.raises((UserError, SystemExit)):
        verify(str(tmp_path / "val-000000.tar"))
    assert "latents are float16 (2, 1, 6)" in capsys.readouterr().out


def test_a_proposal_asks_whose_latents_it_learns_from(model: Path, encoded: Path) -> None:
    statistics, encoder = data(encoded, True).statistics, load_encoder(str(model))
    parts = torch.nn.ModuleDict(
        {"dynamics": TransformerDynamics(6, (1, 1), 2, 2, Trunk(12, 1, 2)), "frames": PooledFrames()}
    )
    objective = Proposing(encoder, parts, Proposal(6, 1, 2, 2, longest=2, width=8))
    objective.prepare(statistics)
    batch = next(iter(data(encoded, True).train_dataloader()))
    by_hand = objective.proposal.errors(batch["latents"].float(), batch["actions"])
    torch.testing.assert_close(objective(batch)["loss"], by_hand["actions"] + by_hand["blocks"])
    next(encoder.parameters()).data[0] += 1e-3
    with pytest.raises(UserError, match=r"Proposing: data\.folder has no latents of this encoder"):
        objective.prepare(statistics)


def test_what_is_no_folder_of_episodes(model: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "run", "forecast")
    with pytest.raises(UserError, match="is a run of stage 'forecast'; expected collect or pack"):
        encode(str(model), str(tmp_path / "run"), str(tmp_path / "out"))
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "png")
    record = write_shard(tmp_path / "images" / "train-000000.tar", [("i0", {"png": file.getvalue(), "cls": b"1"})])
    splits = {"train": summarise([record])}
    write_manifest(tmp_path / "images", "pack", kind="images", config={}, splits=splits, data_hash="")
    with pytest.raises(UserError, match="holds images; expected episodes"):
        encode(str(model), str(tmp_path / "images"), str(tmp_path / "out"))
