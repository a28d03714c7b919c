"""The cache's folder and its threads, and transports that would join what does not belong together."""

import http.server
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from jepa_wm.data import Shards
from jepa_wm.data.cache import ABANDONED, Cache, _name
from jepa_wm.errors import UserError

OLD, NEW = bytes(range(1, 256)) * 4096, bytes(range(255, 0, -1)) * 4096
GIB = 2.5 * len(OLD) / 2**30


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the n-th request of a path as the server's `answer(handler, n)` does."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Range")))
        self.server.answer(self, len(self.server.seen))

    def send(self, data, begin=0, total=None, etag='"1"', stop=None):
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.send_header("ETag", etag)
        if begin:
            self.send_header("Content-Range", f"bytes {total or begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(data[begin:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.seen, server.released = (lambda handler, _: handler.send(OLD)), [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_others_put_into_the_folder_stays(server, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "thesis.txt").write_bytes(b"x" * 2 * len(OLD))
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    cache = Cache(str(tmp_path), gib=GIB)
    for name in "abcd":
        cache.path(f"{server.url}/{name}.tar")
    assert (tmp_path / "thesis.txt").exists() and (tmp_path / "folder").exists()
    assert len(list(tmp_path.glob("*.tar"))) == 2


def test_downloads_of_the_dead_make_room_and_those_of_the_living_do_not(server, tmp_path):
    partials = [tmp_path / f"{_name(f'{server.url}/{name}', {})}.partial" for name in ("living.tar", "dead.tar")]
    for path, age in zip(partials, (0, 2 * ABANDONED), strict=True):
        path.write_bytes(OLD)
        os.utime(path, (time.time() - age,) * 2)
    cache = Cache(str(tmp_path), gib=GIB)
    for name in "abc":
        cache.path(f"{server.url}/{name}.tar")
    assert [path.exists() for path in partials] == [True, False]


def test_the_index_of_a_fetched_shard_is_made_once(server, tmp_path, images, monkeypatch):
    data = (images / "train-000000.tar").read_bytes()
    server.answer = lambda handler, _: handler.send(data) if handler.path.endswith(".tar") else handler.send_error(404)
    address = f"{server.url}/a.tar"
    assert len(Shards([address], cache=Cache(str(tmp_path / "cache")))) == 20
    monkeypatch.setattr("jepa_wm.data.index.scan", lambda shard: pytest.fail(f"{shard} is scanned again"))
    for _ in range(3):
        assert len(Shards([address], cache=Cache(str(tmp_path / "cache")))) == 20


def test_a_process_ends_at_once_whatever_is_still_to_be_fetched(server, tmp_path):
    server.answer = lambda handler, _: server.released.wait(30)
    code = (
        "import time; from jepa_wm.data.cache import Cache\n"
        f"Cache({str(tmp_path)!r}).prefetch([f'{server.url}/{{i}}.tar' for i in range(9)])\n"
        f"while not list(__import__('pathlib').Path({str(tmp_path)!r}).glob('*.lock')): time.sleep(0.01)"
    )
    # With the default time-out an executor's threads would keep it for minutes.
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


def test_what_is_announced_twice_is_fetched_once_and_two_at_a_time(server, tmp_path):
    running, most = [], []

    def answer(handler, _):
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        handler.send(OLD)

    server.answer = answer
    cache = Cache(str(tmp_path), gib=1)
    addresses = [f"{server.url}/{number}.tar" for number in range(6)]
    for _ in range(3):
        cache.prefetch([*addresses, f"{tmp_path}/local.tar", "nosuch://a"])
    deadline = time.monotonic() + 5
    while len(list(tmp_path.glob("*.tar"))) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(path for path, _ in server.seen) == [f"/{number}.tar" for number in range(6)] and max(most) == 2


@pytest.mark.parametrize("rest", [dict(etag='"2"'), dict(total=7)])
def test_a_rest_of_something_else_is_not_joined(server, tmp_path, rest):
    answers = [
        lambda handler: handler.send(OLD, stop=len(OLD) // 2),
        lambda handler: handler.send(NEW, begin=len(NEW) // 2, **rest),
        lambda handler: handler.send(NEW),
    ]

    def answer(handler, number):
        answers[number - 1](handler)
        handler.close_connection = True

    server.answer = answer
    assert Cache(str(tmp_path), timeout=1).path(f"{server.url}/a.tar").read_bytes() == NEW
    assert [wanted for _, wanted in server.seen] == [None, f"bytes={len(OLD) // 2}-", None]


def test_a_stall_loses_nothing_that_came(server, tmp_path):
    def answer(handler, _):
        begin = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        handler.send(OLD, begin, stop=begin + 400_000)
        if begin + 400_000 < len(OLD):
            server.released.wait(5)

    server.answer = answer
    assert Cache(str(tmp_path), retries=2, timeout=0.3).path(f"{server.url}/a.tar").read_bytes() == OLD
    assert [wanted for _, wanted in server.seen] == [None, "bytes=400000-", "bytes=800000-"]


half, late, end = threading.Event(), threading.Event(), threading.Event()


class Late(MemoryFileSystem):
    """Its first attempt hangs, and begins to write when the second is half done."""

    protocol, cachable, calls = "latemem", False, 0

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("latemem://").lstrip("/")

    def info(self, path, **options):
        Late.calls += 1
        self.first = Late.calls == 1
        if self.first:
            half.wait(5)
        return super().info(path, **options)

    def get_file(self, rpath, lpath, **_):
        with open(lpath, "wb", buffering=0) as file:
            if self.first:
                late.set()
                end.wait(5)
                return
            file.write(OLD[: len(OLD) // 2])
            half.set()
            late.wait(5)
            file.write(OLD[len(OLD) // 2 :])


def test_an_attempt_that_was_given_up_cannot_spoil_the_next(tmp_path):
    fsspec.register_implementation("latemem", Late, clobber=True)
    Late().pipe_file("/b/a.tar", OLD)
    try:
        assert Cache(str(tmp_path), timeout=0.3).path("latemem://b/a.tar").read_bytes() == OLD
    finally:
        end.set()


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file cannot be made .* JEPA_WM_CACHE"):
        Cache(str(tmp_path / "file")).path(f"{server.url}/a.tar")


def test_spaces_in_a_url(server, tmp_path):
    Cache(str(tmp_path)).path(f"{server.url}/a b%20c.tar?x=1&y=/2")
    assert server.seen[0][0] == "/a%20b%20c.tar?x=1&y=/2"


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_names_differ_and_stay_in_the_folder(addresses):
    one, other = (_name(address, {}) for address in addresses)
    assert one != other and all(
        Path(name).name == name and len(name) < 128 and name not in (".", "..") for name in (one, other)
    )
