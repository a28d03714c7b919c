"""What other processes, other people's tars and a source that changes do to the verbs."""

import io
import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from jepa_wm.data import Shards
from jepa_wm.data.verbs.index import index
from jepa_wm.data.verbs.merge import merge
from jepa_wm.data.verbs.pack import pack
from jepa_wm.data.verbs.packing import _alone
from jepa_wm.data.verbs.split import split
from jepa_wm.data.verbs.stored import unique_keys
from jepa_wm.data.verbs.workers import each
from jepa_wm.errors import UserError
from jepa_wm.manifest import read_manifest

CHILD = """
import os, sys, time
from pathlib import Path
from jepa_wm.data.verbs.workers import each

def work(number):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(0.05)

if __name__ == "__main__":
    list(each(work, [(number,) for number in range(1000)], workers=2))
"""


def wait_for(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def foreign_tar(path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.slow
def test_workers_end_with_the_process_that_is_killed(tmp_path):
    script, pids = tmp_path / "child.py", tmp_path / "pids"
    script.write_text(CHILD)
    pids.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(pids)], stderr=subprocess.DEVNULL)
    assert wait_for(lambda: len(list(pids.iterdir())) == 2, 60)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_for(lambda: not any(is_alive(int(path.name)) for path in pids.iterdir()), 10)


def test_a_worker_that_dies_is_told_of():
    with pytest.raises(UserError, match="one of 2 worker processes died"):
        list(each(os._exit, [(1,), (1,)], workers=2))


def test_a_source_that_has_grown_is_not_continued(numbers, tmp_path):
    with pytest.raises(UserError, match="torn"):
        pack(numbers(9, [1]), str(tmp_path / "out"), held_out=0, samples_per_shard=1)
    grown = numbers(9, [1])
    grown.__class__ = type("Grown", (numbers,), {"__len__": lambda self: 10})
    grown.__class__.__name__ = numbers.__name__
    with pytest.raises(UserError, match="samples=9; got samples=10"):
        pack(grown, str(tmp_path / "out"), held_out=0, samples_per_shard=1)


def test_two_processes_do_not_write_one_folder(numbers, tmp_path):
    with _alone(tmp_path / ".out.pack"), pytest.raises(UserError, match="another process"):
        pack(numbers(9), str(tmp_path / "out"))
    pack(numbers(9), str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_keys_of_tars_from_elsewhere_are_made_ones_that_may_be_written(tmp_path, sources):
    picture = sources.file_of(sources.grey(3), "jpeg")
    (tmp_path / "in").mkdir()
    for number in range(2):
        foreign_tar(tmp_path / f"in/set-train-{number}.tar", [(f"a/b {i}.jpg", picture) for i in range(6)])
    foreign_tar(tmp_path / "in/set-validation-0.tar", [("a/ö.jpg", picture), ("x" * 90 + ".jpg", picture)])
    foreign_tar(tmp_path / "in/set-train-2.tar", [])
    index(str(tmp_path / "in"))
    counts = {name: about["samples"] for name, about in read_manifest(tmp_path / "in")["splits"].items()}
    assert counts == {"train": 12, "val": 2}
    split(str(tmp_path / "in"), str(tmp_path / "out"), held_out=0)
    merge([str(tmp_path / "in")] * 2, str(tmp_path / "twice"))
    assert len(Shards(tmp_path / "out").index(0).keys) == 14 and len(Shards(tmp_path / "twice", "val")) == 4


def test_keys_become_unique_and_few_change():
    assert unique_keys(["a", "b", "a", "a-2", "a", "a b", "a-b"]) == ["a", "b", "a-3", "a-2", "a-4", "a-b", "a-b-2"]
    long = unique_keys(["y" * 100] * 1000)
    assert len(set(long)) == 1000 and max(map(len, long)) == 80


def test_broken_metadata_do_not_stop_a_split_into_groups(numbers, tmp_path):
    pack(numbers(40), str(tmp_path / "in"), held_out=0)
    shard = tmp_path / "in" / "train-000000.tar"
    data = shard.read_bytes()
    shard.write_bytes(data.replace(b'{"group": "a"}', b'{"group" "a" }', 1))
    split(str(tmp_path / "in"), str(tmp_path / "out"), held_out=0.4, group="group", max_skipped=0.1)
    assert sum(about["samples"] for about in read_manifest(tmp_path / "out")["splits"].values()) == 40
