"""Remote shards: a server that fails, stalls and cuts off, two processes at once, a bound that holds; and S3."""

import http.server
import multiprocessing
import os
import pickle
import threading
import time
from collections import Counter

import numpy as np
import pytest

from jepa_wm.data import EpisodeShards, Images, Loader, Shards
from jepa_wm.data.addresses import expand, is_remote, join
from jepa_wm.data.cache import Cache
from jepa_wm.errors import UserError

DATA = bytes(range(256)) * 4096


class Moody(http.server.BaseHTTPRequestHandler):
    """Serves files in the moods that its server has been given for their first requests."""

    def do_GET(self):
        server = self.server
        with server.lock:
            server.seen[self.path] += 1
            mood = server.moods[self.path].pop(0) if server.moods.get(self.path) else "well"
        data = server.files.get(self.path)
        if data is None or isinstance(mood, int):
            return self.send_error(mood if isinstance(mood, int) else 404)
        begin, status = 0, 200
        if (wanted := self.headers.get("Range")) and server.ranges and self.headers.get("If-Range") == server.etag:
            begin, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
        server.begins.append(begin)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) - begin))
        self.send_header("ETag", server.etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if mood == "slow":
            time.sleep(0.1)
        if mood in ("cut", "stall"):
            self.wfile.write(data[begin : begin + (len(data) - begin) // 2])
            self.wfile.flush()
            if mood == "stall":
                server.released.wait(5)
            self.close_connection = True
        else:
            self.wfile.write(data[begin:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    server.files, server.moods, server.seen, server.begins = {"/a.tar": DATA}, {}, Counter(), []
    server.lock, server.released, server.ranges, server.etag = threading.Lock(), threading.Event(), True, '"1"'
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path):
    return Cache(str(tmp_path / "cache"), retries=3, timeout=0.3)


def left(cache):
    return sorted(path.suffix for path in cache.folder.iterdir() if path.suffix != ".lock")


def test_a_file_is_fetched_once_and_kept(server, cache):
    for _ in range(3):
        assert cache.path(f"{server.url}/a.tar").read_bytes() == DATA
    assert server.seen["/a.tar"] == 1 and left(cache) == [".tar"]


@pytest.mark.parametrize("moods", [[500, 503], ["cut"], ["stall"], ["cut", 500, "stall"], [429], [408]])
@pytest.mark.parametrize("ranges", [True, False])
def test_what_fails_is_tried_again(server, cache, moods, ranges):
    server.moods["/a.tar"], server.ranges = list(moods), ranges
    assert cache.path(f"{server.url}/a.tar").read_bytes() == DATA
    assert server.seen["/a.tar"] == len(moods) + 1


def test_what_was_cut_off_goes_on_where_it_ended(server, cache):
    server.moods["/a.tar"] = ["cut", "cut"]
    assert cache.path(f"{server.url}/a.tar").read_bytes() == DATA
    assert server.begins == [0, len(DATA) // 2, len(DATA) * 3 // 4]


def test_a_file_that_changed_meanwhile_comes_anew(server, cache, monkeypatch):
    server.moods["/a.tar"] = ["cut"]
    monkeypatch.setattr("jepa_wm.data.transport.time.sleep", lambda _: setattr(server, "etag", '"2"'))
    server.files["/a.tar"] = DATA
    assert cache.path(f"{server.url}/a.tar").read_bytes() == DATA
    assert server.begins == [0, 0]


@pytest.mark.parametrize(("mood", "attempts"), [(404, 1), (403, 1), (500, 4), ("cut", 4)])
def test_what_fails_always_is_named_and_leaves_nothing(server, cache, mood, attempts):
    server.moods["/a.tar"], server.ranges = [mood] * 9, False
    with pytest.raises(UserError, match=r"/a\.tar cannot be fetched"):
        cache.path(f"{server.url}/a.tar")
    assert server.seen["/a.tar"] == attempts and left(cache) == []


def test_nobody_there(cache):
    with pytest.raises(UserError, match="4 attempts"):
        cache.path("http://127.0.0.1:9/a.tar")


def fetch(cache, address, results):
    results.put(cache.path(address).read_bytes() == DATA)


def test_two_processes_fetch_a_file_once(server, cache):
    server.moods["/a.tar"] = ["slow"]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    children = [context.Process(target=fetch, args=(cache, f"{server.url}/a.tar", results)) for _ in range(2)]
    for child in children:
        child.start()
    assert [results.get(), results.get()] == [True, True]
    for child in children:
        child.join()
    assert server.seen["/a.tar"] == 1


def test_the_bound_holds_and_what_was_used_last_stays(server, tmp_path):
    cache = Cache(str(tmp_path / "cache"), gib=2.5 * len(DATA) / 2**30)
    for name in "abc":
        server.files[f"/{name}.tar"] = DATA
    paths = {}
    for name in "abacb":
        paths[name] = cache.path(f"{server.url}/{name}.tar")
        time.sleep(0.01)
        assert sum(path.stat().st_size for path in cache.folder.glob("*.tar")) <= 2.5 * len(DATA)
    assert server.seen == {"/a.tar": 1, "/b.tar": 2, "/c.tar": 1}


def test_a_killed_download_is_not_taken_for_whole(server, cache):
    server.moods["/a.tar"] = ["stall"]
    slow = Cache(str(cache.folder), timeout=30)
    if (child := os.fork()) == 0:
        try:
            slow.path(f"{server.url}/a.tar")
        finally:
            os._exit(1)
    while not list(cache.folder.glob("*.partial")) if cache.folder.exists() else True:
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert cache.path(f"{server.url}/a.tar").read_bytes() == DATA


def serve(server, folder):
    for path in folder.iterdir():
        server.files[f"/{folder.name}/{path.name}"] = path.read_bytes()
    return f"{server.url}/{folder.name}"


def test_shards_at_a_url(server, cache, shards, images, make_episode):
    read = EpisodeShards(serve(server, shards), cache=cache)
    np.testing.assert_array_equal(read[4].frames, make_episode(4).frames)
    assert read.form.height == 6 and read.statistics["action_rows"] == 70
    local = Loader(Images(Shards(images)), 7, window=16, seed=1)
    remote = Loader(Images(Shards(serve(server, images), cache=cache)), 7, window=16, seed=1, workers=2)
    for one, other in zip(local, remote, strict=True):
        assert one["index"].tolist() == other["index"].tolist()
    assert all(count == 1 for path, count in server.seen.items() if path.endswith(".tar"))


def test_a_cache_smaller_than_the_data_reads_all_of_it(server, tmp_path, images):
    cache = Cache(str(tmp_path / "cache"), gib=100_000 / 2**30)
    read = Shards(serve(server, images), cache=cache)
    assert sum(len(batch["pixels"]) for batch in Loader(Images(read), 7, window=16)) == 50


def test_pipes_are_run_only_if_that_is_allowed(tmp_path, images):
    address = f"pipe:cat {images}/train-000003.tar"
    with pytest.raises(UserError, match="--allow_pipe true"):
        Shards([address], cache=Cache(str(tmp_path / "cache")))
    assert len(Shards([address], cache=Cache(str(tmp_path / "cache"), allow_pipe=True))) == 16
    with pytest.raises(UserError, match="exit status 3: no"):
        Shards(["pipe:echo no >&2; exit 3"], cache=Cache(str(tmp_path / "cache"), allow_pipe=True))


def test_caches_go_to_other_processes(server, cache):
    cache.prefetch([f"{server.url}/a.tar"])
    other = pickle.loads(pickle.dumps(cache))
    assert other.path(f"{server.url}/a.tar").read_bytes() == DATA and server.seen["/a.tar"] == 1


def test_a_scheme_without_a_driver_is_named(cache):
    with pytest.raises(UserError, match="nosuch"):
        cache.path("nosuch://bucket/a.tar")


# botocore and moto use what Python 3.12 deprecates.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_shards_in_s3(tmp_path, shards, make_episode, monkeypatch):
    boto3, server = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        url = "http://{}:{}".format(*moto.get_host_and_port())
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        for path in shards.iterdir():
            client.upload_file(str(path), "bucket", f"folder/{path.name}")
        cache = Cache(str(tmp_path / "cache"), retries=1, timeout=5, options={"endpoint_url": url})
        read = EpisodeShards("s3://bucket/folder", cache=cache)
        np.testing.assert_array_equal(read[4].frames, make_episode(4).frames)
        with pytest.raises(UserError, match="cannot be fetched: FileNotFound"):
            cache.path("s3://bucket/folder/none.tar")
    finally:
        moto.stop()


def test_addresses(tmp_path, monkeypatch):
    assert expand(["a-{000..002}.tar", "s3://b/{x,y}.tar::c.tar"]) == [
        "a-000.tar", "a-001.tar", "a-002.tar", "s3://b/x.tar", "s3://b/y.tar", "c.tar"
    ]  # fmt: skip
    for name in ("2.tar", "1.tar", "3.txt"):
        (tmp_path / name).touch()
    assert expand([f"{tmp_path}/*.tar"]) == [str(tmp_path / "1.tar"), str(tmp_path / "2.tar")]
    assert expand(["pipe:cat {a,b}::c"]) == ["pipe:cat {a,b}::c"]
    for wrong in (f"{tmp_path}/*.zip", "a-{000..002.tar"):
        with pytest.raises(UserError):
            expand([wrong])
    assert [is_remote(a) for a in ("a/b.tar", "file:///a", "https://a/b", "hf://a", "pipe:a")] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert join("s3://a/b/", "c") == "s3://a/b/c" and join("file:///a", "c") == "/a/c"
