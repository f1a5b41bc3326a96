"""Folders behind a URL: by TensorFlow's file systems, and on a web server."""

import dataclasses
import functools
import http.server
import shutil
import threading
import uuid

import numpy as np
import pytest

import zoo
from tests.helpers.publications import NAME, RECORD, logits
from zoo import finding
from zoo.presets import index
from zoo.publishing import publish
from zoo.storage import download, urls

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def folder(toy_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "toys"
    publish.publish(toy_model, folder, RECORD, data_license="mit")
    return folder


@pytest.fixture
def url(folder, tmp_path, monkeypatch):
    """A published folder in TensorFlow's file system in memory."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    url = f"ram://{uuid.uuid4().hex}/toys"
    urls.upload(folder, url, publish.SUMS_FILE)
    return url


def read(url):
    with tf.io.gfile.GFile(url, "rb") as file:
        return file.read()


def write(url, content):
    if tf.io.gfile.exists(url):
        tf.io.gfile.remove(url)  # The file system in memory appends to what is there.
    with tf.io.gfile.GFile(url, "wb") as file:
        file.write(content)


@pytest.mark.parametrize("scheme", ["ram://", "file://"])
def test_a_model_comes_back_from_a_file_system(
    scheme, toy_model, tmp_path, monkeypatch
):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    url = f"{scheme}{tmp_path}/bucket/toys"

    def export(model, path):
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"graph")

    preset = publish.publish(toy_model, url, RECORD, data_license="mit", export=export)
    assert read(f"{url}/saved_model/saved_model.pb") == b"graph"
    read_back = dataclasses.replace(preset, file=None, url=f"{url}/model.safetensors")
    assert index.read_published(url) == read_back
    for model in (zoo.load(url), zoo.load(NAME, weights=f"{url}/")):
        assert model.name == NAME
        np.testing.assert_array_equal(logits(model), logits(toy_model))
    assert f'folder = "{url}"' in read(f"{url}/README.md").decode()


def test_a_folder_that_was_published_is_replaced(folder, tmp_path):
    url = f"file://{tmp_path}/toys"
    tf.io.gfile.makedirs(f"{url}/saved_model/variables")
    for name in ("saved_model/variables/old", "preset.json", "README.md"):
        write(f"{url}/{name}", b"old" * 10_000)
    urls.check(url, index.PRESET_FILE)
    urls.upload(folder, url, publish.SUMS_FILE)
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    found = {
        f"{place}/{name}".removeprefix(f"{url}/"): read(f"{place}/{name}")
        for place, _, names in tf.io.gfile.walk(url)
        for name in names
    }
    assert found == files


def test_the_checksums_come_last(folder, monkeypatch):
    written = []
    gfile = tf.io.gfile
    copy = gfile.copy

    def note(source, target, overwrite):
        written.append(target.rpartition("/")[2])
        copy(source, target, overwrite)

    monkeypatch.setattr(gfile, "copy", note)
    urls.upload(folder, f"ram://{uuid.uuid4().hex}/x", publish.SUMS_FILE)
    assert written[-1] == publish.SUMS_FILE
    assert sorted(written) == sorted(path.name for path in folder.iterdir())


def test_files_of_the_user_are_left_alone(toy_model):
    url = f"ram://{uuid.uuid4().hex}/mine"
    tf.io.gfile.makedirs(url)
    write(f"{url}/thesis.tex", b"text")
    with pytest.raises(FileExistsError, match=r"mine' holds .*\(thesis.tex\).*alone"):
        publish.publish(toy_model, url, RECORD, data_license="mit")
    assert read(f"{url}/thesis.tex") == b"text"


def test_an_interrupted_download_goes_on(url, folder, tmp_path):
    preset = index.read_published(url)
    content = (folder / "model.safetensors").read_bytes()
    path = tmp_path / "x.safetensors"
    path.with_name("x.safetensors.part").write_bytes(content[:1000])
    broken = b"x" * 1000 + content[1000:]  # What is there is not read again.
    write(f"{url}/model.safetensors", broken)
    source = f"{url}/model.safetensors"
    assert download.fetch(source, path, preset.sha256, preset.size) == path
    assert path.read_bytes() == content


def test_an_altered_file_is_refused(url):
    content = bytearray(read(f"{url}/model.safetensors"))
    content[-1] ^= 1
    write(f"{url}/model.safetensors", bytes(content))
    with pytest.raises(ValueError, match=f"What came from {url}/model.* altered"):
        zoo.load(url)


def test_a_name_does_not_lead_out_of_the_cache(url, tmp_path):
    text = read(f"{url}/preset.json").decode()
    evil = f"{NAME}/../../../evil"
    write(f"{url}/preset.json", text.replace(NAME, evil).encode())
    path = finding.locate(index.read_published(url), url)
    assert path.parent == tmp_path / "cache"


def test_what_is_not_there_is_named(url):
    with pytest.raises(FileNotFoundError, match=f"no '{url}x/preset.json'.*copy"):
        zoo.load(f"{url}x")
    tf.io.gfile.remove(f"{url}/model.safetensors")
    with pytest.raises(ConnectionError, match=f"{url}/model.safetensors .*There is no"):
        zoo.load(url)
    with pytest.raises(ConnectionError, match="Cannot read nil://.*scheme 'nil' not"):
        zoo.load("nil://bucket/x")
    write(f"{url}/preset.json", b"[]")
    with pytest.raises(ValueError, match=f"'{url}/preset.json' is not the preset"):
        zoo.load(url)


def test_offline_a_model_that_was_loaded_before_loads_again(url, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(ConnectionError, match=f"{url}/preset.json .ZOO_OFFLINE is set"):
        zoo.load(url)
    monkeypatch.delenv("ZOO_OFFLINE")
    zoo.load(url)
    tf.io.gfile.rmtree(url)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert zoo.load(url).name == NAME


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_a_folder_on_a_web_server_loads_while_it_is_there_and_then_from_the_cache(
    folder, toy_model, tmp_path, monkeypatch
):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    handler = functools.partial(Quiet, directory=folder.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}/toys"
            np.testing.assert_array_equal(logits(zoo.load(url)), logits(toy_model))
            with pytest.raises(FileNotFoundError, match=f"There is no {url}x/preset"):
                zoo.load(f"{url}x")
            with pytest.raises(ValueError, match="web server takes no files"):
                publish.publish(toy_model, url, RECORD, data_license="mit")
        finally:
            server.shutdown()
            thread.join()
    with pytest.warns(UserWarning, match=f"Cannot read {url}/preset.*was read before"):
        np.testing.assert_array_equal(logits(zoo.load(url)), logits(toy_model))
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(ConnectionError, match=f"Cannot read {url}/preset.*refused"):
        zoo.load(url)
