"""The promises of ObjectStore, kept alike by S3 and by a directory."""

import io
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samplemix_core.deployment import Deployment
from samplemix_core.errors import ObjectAccessError, ObjectStoreError, PreconditionFailedError
from samplemix_core.objects import open_store, s3
from samplemix_core.objects.directory import FileStore
from samplemix_core.objects.interface import Announced, ObjectStore


@pytest.fixture(params=["s3", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return request.getfixturevalue("object_store") if request.param == "s3" else FileStore(tmp_path / "root")


def test_put_then_get_head_open(store: ObjectStore) -> None:
    info = store.put("a/b c+ü.txt", b"content")
    assert info.key == "a/b c+ü.txt"
    assert info.size == 7
    assert store.head(info.key) == info
    assert store.get(info.key) == (b"content", info)
    with store.open(info.key) as stream:
        assert stream.read(3) + stream.read() == b"content"


def test_empty_object(store: ObjectStore) -> None:
    store.put("empty", b"")
    assert store.get("empty")[0] == b""
    with store.open("empty") as stream:
        assert stream.read() == b""


def test_lists_are_sorted_by_key_and_prefixes_are_plain(store: ObjectStore) -> None:
    keys = ["a-b/x", "a.txt", "a/b", "a/c/d", "a/c.d", "a0", "b/a", "B", "ü", "a/ü"]
    infos = {key: store.put(key, key.encode()) for key in keys}
    for prefix in ("", "a", "a/", "a/c", "a/c/", "a.t", "none", "none/", "a/b/c"):
        assert list(store.list(prefix)) == [infos[key] for key in sorted(keys) if key.startswith(prefix)]


def test_lists_of_more_than_one_page(object_store: ObjectStore) -> None:
    keys = [f"k{i:04}" for i in range(1_003)]
    with ThreadPoolExecutor(8) as pool:
        infos = list(pool.map(lambda key: object_store.put(key, b""), keys))
    assert list(object_store.list()) == infos


def test_a_root_does_not_see_its_siblings(services: Deployment, object_store: ObjectStore) -> None:
    object_store.put("a/x", b"1")
    object_store.put("ab", b"2")
    inner = open_store(object_store.uri + "/a", services)
    assert [info.key for info in inner.list()] == ["x"]


def test_missing_objects(store: ObjectStore) -> None:
    assert store.head("none") is None
    for read in (store.get, store.open):
        with pytest.raises(ObjectStoreError, match="none") as caught:
            read("none")
        assert store.uri in str(caught.value)
    store.delete("none")
    assert list(store.list()) == []
    assert list(store.list("none/")) == []


def test_delete(store: ObjectStore) -> None:
    store.put("a", b"1")
    store.delete("a")
    assert store.head("a") is None


def test_if_none_match_writes_once(store: ObjectStore) -> None:
    first = store.put("a", b"first", if_none_match=True)
    with pytest.raises(PreconditionFailedError, match="exists already"):
        store.put("a", b"second", if_none_match=True)
    assert store.get("a") == (b"first", first)


def test_if_match_compares_and_swaps(store: ObjectStore) -> None:
    old = store.put("a", b"old")
    new = store.put("a", b"new", if_match=old.etag)
    with pytest.raises(PreconditionFailedError, match="is not the version"):
        store.put("a", b"lost", if_match=old.etag)
    with pytest.raises(PreconditionFailedError):
        store.put("none", b"lost", if_match=old.etag)
    assert store.get("a") == (b"new", new)


def test_racing_creators_have_one_winner(store: ObjectStore) -> None:
    def create(i: int) -> bool:
        try:
            store.put("a", b"%d" % i, if_none_match=True)
        except PreconditionFailedError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert store.get("a")[0] == b"%d" % won.index(True)


def test_racing_swappers_lose_no_update(store: ObjectStore) -> None:
    store.put("counter", b"0")

    def add() -> None:
        while True:
            data, info = store.get("counter")
            try:
                store.put("counter", b"%d" % (int(data) + 1), if_match=info.etag)
            except PreconditionFailedError:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(add) for _ in range(12)]:
            future.result()
    assert store.get("counter")[0] == b"12"


@pytest.mark.parametrize("part_bytes", [5 * 2**20, 64 * 2**20])
def test_upload_of_a_file(store: ObjectStore, tmp_path: Path, part_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", part_bytes)
    data = np.random.default_rng(1).bytes(12 * 2**20)
    (tmp_path / "big").write_bytes(data)
    info = store.upload("big", tmp_path / "big")
    assert info.size == len(data)
    assert store.get("big") == (data, info)


def test_streams_seek(store: ObjectStore) -> None:
    data = np.random.default_rng(2).bytes(3 * 2**20)
    store.put("a", data)
    with store.open("a") as stream:
        assert stream.seek(2 * 2**20) == 2 * 2**20
        assert stream.read(10) == data[2 * 2**20 : 2 * 2**20 + 10]
        assert stream.seek(-5, io.SEEK_END) == len(data) - 5
        assert stream.read() == data[-5:]
        assert stream.seek(0) == 0
        assert stream.read() == data
        stream.seek(len(data) + 10)
        assert stream.read() == b""


@pytest.mark.parametrize("start", [0, 1, 5 * 2**20])
def test_streams_are_read_in_pieces_of_any_length(store: ObjectStore, start: int) -> None:
    data = np.random.default_rng(4).bytes(12 * 2**20)
    store.put("a", data)
    with store.open("a", store.head("a")) as stream:
        stream.seek(start)
        pieces = []
        for size in (10, 2**20, 3 * 2**20 + 7, 1, 2**21, 100, -1):
            pieces.append(stream.read(size))
            assert stream.tell() == start + sum(map(len, pieces))
        assert b"".join(pieces) == data[start:]
        assert stream.read() == stream.read(2**22) == b""
        assert stream.seek(start) == start
        assert stream.read(2**22) == data[start : start + 2**22]


def test_a_stream_of_a_version_that_is_there_no_more(store: ObjectStore) -> None:
    info = store.put("a", b"old")
    infos = [store.head("a"), store.get("a")[1], next(store.list("a")), info]
    for known in infos:
        with store.open("a", known) as stream:
            assert stream.read() == b"old"
    store.put("a", b"new")
    for known in infos:
        with pytest.raises(ObjectStoreError, match="changed"), store.open("a", known) as stream:
            stream.read()


def test_a_request_is_for_what_will_be_read(services: Deployment, object_store: ObjectStore) -> None:
    object_store.put("a", b"x" * 32 * 2**20)
    asked: list[str] = []

    def request(data: bytes) -> bytes:
        if data.startswith(b"GET "):
            found = re.search(rb"\r\nRange: bytes=(.*?)\r\n", data, re.IGNORECASE)
            asked.append(found[1].decode() if found else "")
        return data

    def ranges(*read: tuple[int, int]) -> list[int]:
        """The bytes of each request that some reads make: of so many bytes, so many times."""
        asked.clear()
        for n_bytes, times in read:
            for _ in range(times):
                stream.read(n_bytes)
        return [int(last) - int(first) + 1 for first, last in (each.split("-") for each in asked)]

    connections = [10**9] * 9
    with (
        flaky(str(services.s3_endpoint), connections, request) as endpoint,
        open_store(object_store.uri, replace(services, s3_endpoint=endpoint)).open("a") as stream,
    ):
        stream.seek(100)
        assert ranges((2**22, 1)) == [2**22]
        stream.seek(10 * 2**20)
        assert ranges((2**20, 7)) == [2**20, 2**21, 2**22]
        stream.seek(1)
        assert ranges((2**21, 3)) == [2**21, 2**22]
        assert isinstance(stream, Announced)
        stream.seek(2**20)
        stream.announce(5 * 2**19)
        assert ranges((2**19, 5)) == [5 * 2**19]
        # All that was asked for was read, by the same connection.
        assert len(connections) == 8
        stream.seek(0)
        asked.clear()
        assert len(stream.read(10)) + len(stream.read()) == 32 * 2**20
        assert asked == [""]


def test_parquet_reads_from_a_stream(store: ObjectStore) -> None:
    table = pa.table({"x": np.arange(50_000), "y": np.arange(50_000) % 7})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=10_000)
    store.put("t.parquet", sink.getvalue())
    with store.open("t.parquet") as stream:
        assert pq.ParquetFile(stream).read_row_group(3).equals(table.slice(30_000, 10_000))


@contextmanager
def flaky(
    endpoint: str,
    cuts: list[int],
    request: Callable[[bytes], bytes] = bytes,
    answer: Callable[[bytes], bytes] = bytes,
) -> Iterator[str]:
    """A proxy before an endpoint: its first connections are cut after so many bytes of answer, the rest go through.

    `request` and `answer` get what passes, and return what goes on.
    """
    target = urlsplit(endpoint)
    server = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def pump(source: socket.socket, sink: socket.socket, limit: int | None, through: Callable[[bytes], bytes]) -> None:
        passed = 0
        with suppress(OSError):
            while data := through(source.recv(65_536)):
                if limit is not None and passed + len(data) > limit:
                    sink.sendall(data[: limit - passed])
                    break
                sink.sendall(data)
                passed += len(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()

    def serve() -> None:
        while not stopped.is_set():
            try:
                client, _ = server.accept()
            except OSError:
                return
            upstream = socket.create_connection((str(target.hostname), int(target.port or 80)))
            limit = cuts.pop(0) if cuts else None
            threads = [
                threading.Thread(target=pump, args=(client, upstream, None, request), daemon=True),
                threading.Thread(target=pump, args=(upstream, client, limit, answer), daemon=True),
            ]
            for thread in threads:
                thread.start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        stopped.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def test_reading_survives_dropped_connections(services: Deployment, object_store: ObjectStore) -> None:
    data = np.random.default_rng(3).bytes(6 * 2**20)
    object_store.put("a", data)
    with flaky(str(services.s3_endpoint), [2_000_000, 2_500_000]) as endpoint:
        store = open_store(object_store.uri, replace(services, s3_endpoint=endpoint))
        with store.open("a") as stream:
            assert stream.read() == data
    with flaky(str(services.s3_endpoint), [1_000_000]) as endpoint:
        assert open_store(object_store.uri, replace(services, s3_endpoint=endpoint)).get("a")[0] == data


def test_damage_on_the_way_is_noticed(services: Deployment, object_store: ObjectStore) -> None:
    object_store.put("a", b"whole" * 1000)
    with flaky(str(services.s3_endpoint), [], answer=lambda data: data.replace(b"wholewhole", b"whole?hole")) as endpoint:
        store = open_store(object_store.uri, replace(services, s3_endpoint=endpoint))
        with pytest.raises(ObjectStoreError, match="arrived damaged"):
            store.get("a")
        with store.open("a") as stream, pytest.raises(ObjectStoreError, match="arrived damaged"):
            stream.read(10)


def test_a_resumed_read_never_mixes_versions(services: Deployment, object_store: ObjectStore) -> None:
    object_store.put("a", b"o" * 6 * 2**20)
    with flaky(str(services.s3_endpoint), [3_000_000]) as endpoint:
        store = open_store(object_store.uri, replace(services, s3_endpoint=endpoint))
        with store.open("a") as stream:
            stream.read(1_000)
            object_store.put("a", b"n" * 6 * 2**20)
            with pytest.raises(ObjectStoreError, match="changed while it was being read"):
                stream.read()


def test_reading_gives_up_where_nothing_comes(services: Deployment, object_store: ObjectStore) -> None:
    object_store.put("a", b"x" * 2**20)
    with flaky(str(services.s3_endpoint), [5_000] + [0] * 100) as endpoint:
        store = open_store(object_store.uri, replace(services, s3_endpoint=endpoint))
        with store.open("a") as stream, pytest.raises(ObjectStoreError):
            stream.read()


class Unusual(BaseHTTPRequestHandler):
    """A store that knows no ranges, and has heard of no token but an expired one."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        expired = b"<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>"
        status, body = (400, expired) if self.path.endswith("expired") else (200, b"0123456789")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Sun, 29 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_store_that_answers_something_else_is_not_believed(services: Deployment) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Unusual) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = open_store("s3://bucket", replace(services, s3_endpoint=f"http://127.0.0.1:{server.server_port}"))
        with store.open("a") as stream:
            assert stream.read() == b"0123456789"
            stream.seek(5)
            with pytest.raises(ObjectStoreError, match="request for 5 bytes from byte 5 on has 10"):
                stream.read(2)
        for asked in (store.head, store.open, store.get):
            with pytest.raises(ObjectAccessError, match=r"access denied \(ExpiredToken\)"):
                asked("expired")
        server.shutdown()


def test_a_creator_whose_answer_was_lost_still_knows_that_it_won(services: Deployment, object_store: ObjectStore) -> None:
    with flaky(str(services.s3_endpoint), [0]) as endpoint:
        store = open_store(object_store.uri, replace(services, s3_endpoint=endpoint))
        assert store.put("a", b"mine", if_none_match=True) == object_store.head("a")
    with flaky(str(services.s3_endpoint), [0]) as endpoint:
        store = open_store(object_store.uri, replace(services, s3_endpoint=endpoint))
        with pytest.raises(PreconditionFailedError):
            store.put("a", b"another's", if_none_match=True)
    assert object_store.get("a")[0] == b"mine"


def test_an_endpoint_that_does_not_answer_is_named(services: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    store = open_store("s3://bucket", replace(services, s3_endpoint=f"http://127.0.0.1:{port}"))
    with pytest.raises(ObjectStoreError, match=f"http://127.0.0.1:{port} does not answer"):
        store.head("a")


def test_a_wrong_secret_is_an_error_that_does_not_tell_it(services: Deployment) -> None:
    store = open_store(services.state_root, replace(services, s3_secret_key="not-the-secret"))
    with pytest.raises(ObjectStoreError, match="access denied") as caught:
        store.put("a", b"1")
    assert "not-the-secret" not in str(caught.value)


def test_a_bucket_that_can_not_be_is_named(services: Deployment) -> None:
    with pytest.raises(ObjectAccessError, match="Invalid bucket name") as caught:
        list(open_store("s3://a b/x", services).list())
    assert "Correct the URI" in str(caught.value)


def test_a_missing_bucket_is_named(services: Deployment) -> None:
    with pytest.raises(ObjectStoreError, match="there is no bucket 'no-such-bucket'"):
        list(open_store("s3://no-such-bucket", services).list())
