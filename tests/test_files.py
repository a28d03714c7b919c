"""Files, manifests and saved modules."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from jepa_wm.checkpoint import build, find_part, load_module, save_modules, spec
from jepa_wm.encoders import GridPool, ViT
from jepa_wm.errors import UserError
from jepa_wm.files import atomic_path, read_json, write_json
from jepa_wm.goals import Avoid
from jepa_wm.manifest import hash_shards, is_complete, is_done, read_manifest, stage_run, write_manifest


def vit(seed: int = 0) -> ViT:
    torch.manual_seed(seed)
    return ViT(patch=8, dim=24, depth=1, heads=2, pooling=GridPool(8, 2)).eval()


class TestFiles:
    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        target = tmp_path / "a.txt"
        target.write_text("old")
        with pytest.raises(RuntimeError), atomic_path(target) as aside:
            aside.write_text("half")
            raise RuntimeError
        assert target.read_text() == "old"
        assert list(tmp_path.iterdir()) == [target]

    def test_no_file_takes_the_place_of_a_folder_nor_a_folder_that_of_a_file(self, tmp_path: Path) -> None:
        run, file = tmp_path / "run", tmp_path / "file"
        write_json(run / "kept.json", 1)
        with pytest.raises(UserError, match="run is a folder; expected the name of a file"):
            write_json(run, 2)
        write_json(file, 3)
        with pytest.raises(UserError, match="file is a file; expected the name of a folder"), atomic_path(file) as new:
            new.mkdir()
        assert read_json(run / "kept.json") == 1 and read_json(file) == 3
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]

    def test_a_folder_is_replaced_whole(self, tmp_path: Path) -> None:
        target = tmp_path / "run"
        target.mkdir()
        (target / "stale").touch()
        with atomic_path(target) as aside:
            aside.mkdir()
            (aside / "fresh").touch()
        assert [path.name for path in target.iterdir()] == ["fresh"]
        assert list(tmp_path.iterdir()) == [target]

    def test_nan_is_refused_and_the_old_file_stays(self, tmp_path: Path) -> None:
        write_json(tmp_path / "a.json", {"loss": 1.5})
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "a.json", {"loss": float("nan")})
        assert read_json(tmp_path / "a.json") == {"loss": 1.5}

    def test_broken_and_missing_json_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "broken.json").write_text('{"a": ')
        for name in ("broken.json", "missing.json"):
            with pytest.raises(UserError, match=name):
                read_json(tmp_path / name)


class TestManifest:
    def test_a_stage_that_succeeds_is_complete_and_timed(self, tmp_path: Path) -> None:
        with stage_run(tmp_path, "plan", {"seed": 3}) as fields:
            assert not is_complete(tmp_path)
            fields["episodes"] = 7
        manifest = read_manifest(tmp_path, "plan")
        assert (manifest["config"], manifest["episodes"]) == ({"seed": 3}, 7)
        assert 0 <= manifest["seconds"] < 60
        assert 0.001 < manifest["peak_rss_gib"] < 100

    def test_a_stage_that_fails_is_not(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError), stage_run(tmp_path, "plan", {}):
            raise RuntimeError
        assert not is_complete(tmp_path)

    def test_a_finished_run_is_done_with_its_own_settings_only(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = {"out": "here", "metrics": ("cka", "rsa"), "seed": 3}
        assert not is_done(tmp_path, "align", config)
        with stage_run(tmp_path, "align", config):
            pass
        assert not capsys.readouterr().out
        assert is_done(tmp_path, "align", config | {"out": "there"})
        assert capsys.readouterr().out == f"{tmp_path} is complete already\n"
        changes = {"seed": (3, 4), "metrics": (["cka", "rsa"], ["rsa", "cka"]), "k": (None, 5)}
        for name, (was, value) in changes.items():
            with pytest.raises(UserError) as caught:
                is_done(tmp_path, "align", config | {name: value})
            assert f"other settings: {name}={was!r}; got {name}={value!r}; name another folder" in str(caught.value)
        with pytest.raises(UserError, match="other settings: seed=3; got seed=None"):
            is_done(tmp_path, "align", {"metrics": ["cka", "rsa"]})
        with pytest.raises(UserError, match="stage 'align'; expected track"):
            is_done(tmp_path, "track", config)

    def test_a_folder_is_the_same_by_whichever_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("data", "others"):
            (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path)
        with stage_run("run", "align", {"data": "data", "models": ["state", "data"]}):
            pass
        whole = str(tmp_path / "data")
        assert is_done("run", "align", {"data": whole, "models": ["state", whole]})
        with pytest.raises(UserError, match="other settings: models"):
            is_done("run", "align", {"data": whole, "models": ["state", "others"]})
        # A name that is none is not that of the folder where one is.
        write_manifest("named", "align", config={"prefix": ""})
        with pytest.raises(UserError, match="other settings: prefix"):
            is_done("named", "align", {"prefix": "."})

    def test_what_a_run_was_made_from_is_the_same_still(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run, model, data = (tmp_path / name for name in ("run", "model", "data"))
        write_manifest(model, "forecast", seconds=1.0)
        write_manifest(data, "collect", seconds=1.0, data_hash="abc")
        config = {"out": str(run), "model": str(model), "data": [str(data), str(tmp_path / "none")], "goal": 999 * "a "}
        with stage_run(run, "plan", config):
            pass
        # Data that are indexed anew are the same data, and what is deleted was what it was.
        write_manifest(data, "index", seconds=2.0, data_hash="abc")
        assert is_done(run, "plan", config)
        write_manifest(data, "collect", seconds=1.0, data_hash="abd")
        with pytest.raises(UserError, match=r"run was made from what was there before as data=\['.*made anew since"):
            is_done(run, "plan", config)
        shutil.rmtree(data)
        assert is_done(run, "plan", config)
        write_manifest(model, "forecast", seconds=1.1)
        with pytest.raises(UserError, match="was made from what was there before as model="):
            is_done(run, "plan", config)

    def test_a_saved_model_is_the_same_by_its_weights(self, tmp_path: Path) -> None:
        first, second = vit(), vit(1)
        config = {"model": str(tmp_path / "saved")}
        save_modules(tmp_path / "saved", {"encoder": first})
        with stage_run(tmp_path / "run", "plan", config):
            pass
        save_modules(tmp_path / "saved", {"encoder": first})
        assert is_done(tmp_path / "run", "plan", config)
        save_modules(tmp_path / "saved", {"encoder": second})
        with pytest.raises(UserError, match="made anew since"):
            is_done(tmp_path / "run", "plan", config)

    def test_each_wrong_folder_is_refused_with_its_reason(self, tmp_path: Path) -> None:
        for name in ("empty", "unfinished", "other", "old"):
            (tmp_path / name).mkdir()
        (tmp_path / "unfinished" / "metrics.jsonl").touch()
        write_manifest(tmp_path / "other", "collect")
        write_json(tmp_path / "old" / "manifest.json", {"format": 0, "stage": "plan"})
        reasons = {"empty": "empty", "unfinished": "unfinished", "other": "'collect'", "old": "format", "no": "folder"}
        for name, reason in reasons.items():
            with pytest.raises(UserError, match=reason) as caught:
                read_manifest(tmp_path / name, "plan", "forecast")
            assert str(tmp_path / name) in str(caught.value)

    def test_the_hash_sees_names_and_contents_but_no_order(self) -> None:
        def hashed(*shards: tuple[str, str]) -> str:
            return hash_shards({"train": {"shards": [{"name": name, "sha256": sha * 64} for name, sha in shards]}})

        assert hashed(("a", "1"), ("b", "2")) == hashed(("b", "2"), ("a", "1"))
        assert hashed(("a", "1"), ("b", "2")) != hashed(("a", "1"), ("b", "3"))
        assert hashed(("a", "1"), ("b", "2")) != hashed(("a", "1"), ("c", "2"))
        assert hashed(("a", "1"), ("b", "2")) != hashed(("a", "2"), ("b", "1"))


class TestCheckpoint:
    def test_a_module_comes_back_the_same(self, tmp_path: Path) -> None:
        module, pixels = vit(), torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
        save_modules(tmp_path / "model", {"encoder": module})
        loaded = load_module(find_part(tmp_path, "encoder"))
        assert spec(loaded) == spec(module)
        assert torch.equal(loaded(pixels), module(pixels))
        assert not torch.equal(vit(1)(pixels), module(pixels))

    def test_nothing_is_saved_if_one_module_cannot_be(self, tmp_path: Path) -> None:
        class Forgetful(nn.Module):
            def __init__(self, width: int) -> None:
                super().__init__()

        with pytest.raises(AttributeError):
            save_modules(tmp_path / "model", {"encoder": vit(), "other": Forgetful(3)})
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("path", ["os.system", "jepa_wm_evil.A", "jepa_wm.nowhere.A", "jepa_wm.files.shutil"])
    def test_foreign_and_unknown_classes_are_not_built(self, path: str) -> None:
        with pytest.raises(UserError, match=path):
            build({"class_path": path, "init_args": {}})

    @pytest.mark.parametrize("kind", ["writer", "shards", "elsewhere"])
    def test_a_config_that_was_fetched_opens_nothing(self, tmp_path: Path, kind: str) -> None:
        """Classes of this package that open files or run commands are no parts of models."""
        command = f"pipe:touch {tmp_path / 'ran'}"
        cache = {"class_path": "jepa_wm.data.cache.Cache", "init_args": {"folder": str(tmp_path), "allow_pipe": True}}
        payload = {
            "writer": {"class_path": "jepa_wm.data.writer.TarWriter", "init_args": {"fileobj": command}},
            "shards": {"class_path": "jepa_wm.data.shards.Shards", "init_args": {"source": command, "cache": cache}},
            # What a module of a model imports is not defined there.
            "elsewhere": {"class_path": "jepa_wm.encoders.load.Path", "init_args": {}},
        }[kind]
        save_modules(tmp_path, {"encoder": vit()})
        config = tmp_path / "encoder" / "config.json"
        nested = read_json(config)
        nested["init_args"]["positions"] = payload
        for each in (payload, nested):
            config.write_text(json.dumps(each))
            with pytest.raises(UserError, match=r"class '.*(TarWriter|Shards|Path)' is not part of jepa_wm"):
                load_module(tmp_path / "encoder")
        assert not (tmp_path / "ran").exists()

    def test_what_could_not_be_loaded_is_not_saved(self, tmp_path: Path) -> None:
        other = nn.Flatten()
        with pytest.raises(UserError, match=r"'other' cannot be saved: class 'torch.nn.*Flatten' is not part of"):
            save_modules(tmp_path / "model", {"encoder": vit(), "other": other})
        assert list(tmp_path.iterdir()) == []

    def test_what_json_has_no_number_for_comes_back(self, tmp_path: Path) -> None:
        made = Avoid(low=[-float("inf"), np.float64(0.1)], high=[np.int64(1), float("inf")], columns=[0, np.int64(1)])
        write_json(tmp_path / "config.json", spec(made))
        back = build(read_json(tmp_path / "config.json"))
        assert (back.low, back.high, back.columns) == ([-float("inf"), 0.1], [1, float("inf")], [0, 1])
        with stage_run(tmp_path / "run", "plan", {"search": spec(made)}):
            pass
        assert is_done(tmp_path / "run", "plan", {"search": spec(made)})

    def test_a_model_in_float64_comes_back_in_float64(self, tmp_path: Path) -> None:
        module = vit().double()
        save_modules(tmp_path, {"encoder": module})
        back = load_module(tmp_path / "encoder").state_dict()
        assert all(torch.equal(back[name], value) for name, value in module.state_dict().items())
        assert back["norm.weight"].dtype == torch.float64

    def test_what_a_link_leads_to_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "model")
        for seed in (0, 1):
            save_modules(tmp_path / "link", {"encoder": vit(seed)})
        assert (tmp_path / "link").is_symlink() and not (tmp_path / "model").is_symlink()
        assert torch.equal(load_module(tmp_path / "model" / "encoder").norm.weight, vit(1).norm.weight)

    def test_weights_that_do_not_fit_are_named(self, tmp_path: Path) -> None:
        save_modules(tmp_path, {"encoder": vit()})
        config = tmp_path / "encoder" / "config.json"
        saved = read_json(config)
        saved["init_args"]["dim"] = 48
        config.write_text(json.dumps(saved))
        with pytest.raises(UserError, match="does not fit"):
            load_module(tmp_path / "encoder")
        saved["init_args"]["dimm"] = 48
        config.write_text(json.dumps(saved))
        with pytest.raises(UserError, match="dimm"):
            load_module(tmp_path / "encoder")

    def test_torn_weights_and_missing_parts_are_named(self, tmp_path: Path) -> None:
        save_modules(tmp_path / "model", {"encoder": vit()})
        with pytest.raises(UserError, match=r"dynamics.*encoder"):
            find_part(tmp_path, "dynamics")
        weights = tmp_path / "model" / "encoder" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-8])
        with pytest.raises(UserError, match=r"model\.safetensors"):
            load_module(weights.parent)
        shutil.rmtree(tmp_path / "model")
        with pytest.raises(UserError, match="nothing"):
            find_part(tmp_path, "encoder")
