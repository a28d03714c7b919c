"""Every importer: samples that can be packed and read back, plain arguments, errors that name the file."""

import inspect
import pickle
import re
from pkgutil import iter_modules

import numpy as np
import pytest

from jepa_wm.data import Clips, EpisodeShards, Images, Loader, Shards, importers
from jepa_wm.data.episodes import Episode, check
from jepa_wm.data.importers import Importer
from jepa_wm.data.verbs.facts import kind_of
from jepa_wm.data.verbs.pack import pack
from jepa_wm.errors import UserError

SHARED = {"base", "files", "pictures", "steps"}
NAMES = sorted({module.name for module in iter_modules(importers.__path__)} - SHARED)
CLASSES = {
    value.__module__.rpartition(".")[2]: value
    for value in vars(importers).values()
    if inspect.isclass(value) and issubclass(value, Importer) and value is not Importer
}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def test_each_file_has_one_importer_that_is_exported():
    assert sorted(CLASSES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_what_the_kind_says(make_source, name):
    source = make_source(name)
    assert source.kind in ("images", "videos", "episodes") and len(source) >= 3
    keys = set()
    for number in range(len(source)):
        sample = source[number]
        if isinstance(sample, Episode):
            check(sample)
            kind, key = "episodes", sample.id
        else:
            kind, key = kind_of(sample.members), sample.key
        assert kind == source.kind and re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key)
        keys.add(key)
    assert len(keys) == len(source)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_plain_and_kept_and_go_to_other_processes(make_source, name):
    source = make_source(name)
    arguments = inspect.signature(CLASSES[name]).parameters
    for argument in arguments:
        value = getattr(source, argument)
        assert value is None or isinstance(value, str | int | float | bool | list) or name == "torchvision_dataset"
    other = pickle.loads(pickle.dumps(source))
    assert len(other) == len(source) and repr(other[1]) == repr(source[1])
    documentation = inspect.getdoc(CLASSES[name])
    assert all(f"{argument}: " in documentation for argument in arguments)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_packed_is_what_is_read(make_source, name, tmp_path):
    source = make_source(name)
    pack(source, str(tmp_path / "out"), held_out=0, samples_per_shard=4, codec="png")
    shards = Shards(tmp_path / "out")
    assert len(shards) == len(source) and shards.manifest["kind"] == source.kind
    assert shards.manifest["config"]["source"]["class"] == CLASSES[name].__name__ and not shards.manifest["skipped"]
    if source.kind == "episodes":
        written = {episode.id: episode for episode in EpisodeShards(tmp_path / "out")}
        for number in range(len(source)):
            episode = source[number]
            np.testing.assert_array_equal(written[episode.id].frames, episode.frames)
            np.testing.assert_array_equal(written[episode.id].actions, episode.actions)
    samples = Images(shards) if source.kind == "images" else Clips(shards, frames=2, frame_skip=2)
    assert sum(len(batch["pixels"]) for batch in Loader(samples, 1, max_broken=0)) == len(source)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"torchvision_dataset"}))
def test_a_source_that_is_not_there(name, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        CLASSES[name](str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"torchvision_dataset", "minari", "table", "hdf5", "lerobot"}))
def test_a_file_that_is_broken_is_one_sample_that_is_named(make_source, name, tmp_path):
    """Of the formats that have a file for each sample."""
    source = make_source(name)
    suffixes = {".jpeg", ".png", ".mp4", ".npz", ".pth"}
    files = sorted(path for path in (tmp_path / "source").rglob("*") if path.suffix in suffixes)
    victim = next(path for path in files if "episode" in path.name or name != "dino_wm")
    victim.write_bytes(victim.read_bytes()[:40])
    failed = []
    for number in range(len(source)):
        try:
            source[number]
        except UserError as error:
            failed.append(str(error))
    assert len(failed) == 1 and victim.name in failed[0]
