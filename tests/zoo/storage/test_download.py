import http.server
import multiprocessing
import pathlib
import threading

import numpy as np
import pytest

from zoo.storage import download, files

CONTENT = np.random.default_rng(0).bytes(300_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT`, breaks off after `server.limit` bytes, counts requests."""

    def do_GET(self):  # noqa: N802
        start = 0
        if (header := self.headers["Range"]) and self.server.ranges:
            start = int(header.removeprefix("bytes=").removesuffix("-"))
        self.server.starts.append(start)
        if self.path != "/file":
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        stop = start + (self.server.limit or len(self.server.content))
        self.wfile.write(self.server.content[start:stop])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.limit, server.ranges, server.starts = CONTENT, None, True, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/file"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}
    )
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "file.safetensors"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole") / "file"
    whole.write_bytes(CONTENT)
    return files.sha256(whole), len(CONTENT)


def leftovers(path):
    return {p.name for p in path.parent.iterdir()} - {f"{path.name}.lock"}


def test_a_file_lands_whole_and_is_asked_for_once(server, path, expected):
    for _ in range(2):
        assert download.fetch(server.url, path, *expected) == path
        assert path.read_bytes() == CONTENT
    assert server.starts == [0]
    assert leftovers(path) == {path.name}


def test_a_broken_download_goes_on_where_it_broke_off(server, path, expected):
    server.limit = 100_000
    download.fetch(server.url, path, *expected)
    assert path.read_bytes() == CONTENT
    assert server.starts == [0, 100_000, 200_000]


def test_a_part_of_an_earlier_process_is_not_downloaded_again(server, path, expected):
    path.parent.mkdir()
    path.with_name(f"{path.name}.part").write_bytes(CONTENT[:250_000])
    download.fetch(server.url, path, *expected)
    assert path.read_bytes() == CONTENT
    assert server.starts == [250_000]
    assert leftovers(path) == {path.name}


def test_a_server_without_ranges_starts_over(server, path, expected):
    server.ranges = False
    path.parent.mkdir()
    path.with_name(f"{path.name}.part").write_bytes(b"x" * 1000)
    download.fetch(server.url, path, *expected)
    assert path.read_bytes() == CONTENT


def test_a_connection_that_always_breaks_keeps_the_part(server, path, expected):
    server.limit = 1000
    with pytest.raises(ConnectionError, match="broke off 5 times; call again"):
        download.fetch(server.url, path, *expected)
    assert leftovers(path) == {f"{path.name}.part"}
    server.limit = None
    download.fetch(server.url, path, *expected)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content, message",
    [
        (CONTENT[:-1] + b"x", "altered: expected sha256"),
        (CONTENT + b"x", "expected 300000 bytes, found 300001"),
    ],
)
def test_another_file_is_thrown_away(server, path, expected, content, message):
    server.content = content
    with pytest.raises(
        ValueError, match=rf"127.0.0.1.*/file is not the file: .*{message}"
    ):
        download.fetch(server.url, path, *expected)
    assert not leftovers(path)


def test_without_a_network_the_error_names_url_and_offline_way(path, expected):
    url = "http://127.0.0.1:9/file"
    with pytest.raises(ConnectionError, match=rf"{url}.*refused.*put it at '{path}'"):
        download.fetch(url, path, *expected)
    assert not path.exists()


def test_a_missing_address_is_named(server, path, expected):
    with pytest.raises(ConnectionError, match=r"/nothing \(Not Found\)"):
        download.fetch(server.url.replace("/file", "/nothing"), path, *expected)


def test_offline_nothing_is_asked_for(server, path, expected, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="ZOO_OFFLINE is set.*put it at"):
        download.fetch(server.url, path, *expected)
    assert server.starts == []


def test_two_processes_download_once(server, path, expected):
    context = multiprocessing.get_context("fork")
    args = (server.url, path, *expected)
    processes = [context.Process(target=download.fetch, args=args) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert server.starts == [0]
    assert path.read_bytes() == CONTENT


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", "/somewhere/else")
    assert download.cache_folder() == pathlib.Path("/somewhere/else")
    monkeypatch.delenv("ZOO_CACHE")
    monkeypatch.setenv("HOME", "/home/me")
    assert download.cache_folder() == pathlib.Path("/home/me/.cache/smoothzoo")
