"""Publishing to the Hugging Face hub and loading from it, against a stand-in."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import zoo
from tests.helpers import hub_server
from tests.helpers.publications import NAME, RECORD, logits, make_rows
from zoo.presets import index
from zoo.publishing import packaging, publish
from zoo.storage import download, hugging_face

constants = pytest.importorskip("huggingface_hub.constants")

# The client's own way of sending a file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
URL = "hf://owner/toys"


@pytest.fixture
def server(monkeypatch, tmp_path):
    with hub_server.running() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        # The other way of uploading is a service of its own.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield server


@pytest.fixture(scope="module")
def folder(toy_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "toys"
    publish.publish(toy_model, folder, RECORD, data_license="mit")
    return folder


@pytest.fixture
def published(server, folder):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    server.repositories["owner/toys"] = files
    server.commit("owner/toys")
    return files


def test_a_model_comes_back_from_the_hub(server, toy_model, tmp_path):
    publish.publish(toy_model, URL, RECORD, make_rows(), data_license="mit")
    published = server.repositories["owner/toys"]
    assert published.keys() == {
        *(".gitattributes", "README.md", "SHA256SUMS"),
        *("model.safetensors", "preset.json", "results.jsonl"),
    }
    assert [*server.large.values()] == [published["model.safetensors"]]
    model = zoo.load(URL)
    assert model.name == NAME
    np.testing.assert_array_equal(logits(model), logits(toy_model))
    kept = [p.name for p in (tmp_path / "cache").iterdir() if p.suffix != ".lock"]
    sum_ = index.read_published(URL).sha256[:12]
    assert sorted(kept) == [f"{NAME}-{sum_}.safetensors", "texts"]
    text = published["README.md"].decode()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    assert f'folder = "{URL}"' in code
    names = {"images": np.zeros((2, 16, 16, 1), "uint8")}
    exec(code, names)
    assert names["probs"].shape == (2, 4)


def test_a_second_load_downloads_no_weights_and_an_offline_one_nothing(
    server, published, monkeypatch
):
    zoo.load(URL)
    server.asked.clear()
    zoo.load(NAME, weights=URL)
    assert not [path for _, path in server.asked if "safetensors" in path]
    server.asked.clear()
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    zoo.load(URL)
    assert not server.asked


def test_publishing_again_replaces_all_files_in_one_commit(
    server, published, toy_model
):
    published |= {"saved_model/old.pb": b"old", ".gitattributes": b"lfs"}
    server.asked.clear()
    publish.publish(toy_model, URL, {**RECORD, "seed": 6}, data_license="mit")
    posted = [path for method, path in server.asked if method == "POST"]
    assert len([path for path in posted if "/commit/" in path]) == 1
    files = server.repositories["owner/toys"]
    assert "saved_model/old.pb" not in files
    assert ".gitattributes" in files
    assert index.read_published(URL).seed == 6


def test_a_repository_of_something_else_is_left_alone(server, toy_model):
    server.repositories["owner/thesis"] = {"thesis.tex": b"text"}
    with pytest.raises(
        FileExistsError, match=r"thesis' holds .* \(thesis.tex\).*alone"
    ):
        publish.publish(toy_model, "hf://owner/thesis", RECORD, data_license="mit")
    assert server.repositories["owner/thesis"] == {"thesis.tex": b"text"}


def test_an_altered_file_is_refused(server, published):
    content = bytearray(published["model.safetensors"])
    content[-1] ^= 1
    published["model.safetensors"] = bytes(content)
    server.commit("owner/toys")
    with pytest.raises(ValueError, match=f"What came from {URL}/model.* was altered"):
        zoo.load(URL)


def test_what_is_not_there_is_named(server, published):
    with pytest.raises(
        FileNotFoundError, match="no 'hf://owner/none/preset.json'.*hub"
    ):
        zoo.load("hf://owner/none")
    del published["model.safetensors"]
    with pytest.raises(FileNotFoundError, match=f"no '{URL}/model.safetensors'"):
        zoo.load(URL)
    with pytest.raises(ValueError, match="hf://owner/name or .*url=hf://toys"):
        zoo.load("hf://toys")


def test_a_wrong_token_is_told_in_one_line(server, toy_model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(OSError, match="hub.*(401|private)"):
        publish.publish(toy_model, URL, RECORD, data_license="mit")
    assert not server.repositories


def test_without_a_network_the_url_and_the_offline_way_are_named(
    server, published, monkeypatch, tmp_path
):
    index.read_published(URL)
    texts = tmp_path / "cache" / "texts"
    texts.rename(tmp_path / "read before")
    endpoint = "http://127.0.0.1:9"
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with pytest.raises(
        ConnectionError, match=f"Cannot read {URL}/preset.json .the hub"
    ):
        zoo.load(URL)
    (tmp_path / "read before").rename(texts)
    with (
        pytest.warns(UserWarning, match=f"Cannot read {URL}/preset.*was read before"),
        pytest.raises(ConnectionError, match=f"download {URL}/model.*put it at"),
    ):
        zoo.load(URL)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(ConnectionError, match=f"{URL}/model.*ZOO_OFFLINE is set.*put"):
        zoo.load(URL)


def test_an_entry_of_the_package_can_point_to_the_hub(
    server, published, toy_model, tmp_path, monkeypatch
):
    monkeypatch.setattr(index, "FOLDER", tmp_path / "zoo" / "presets")
    index.FOLDER.mkdir(parents=True)
    preset = packaging.package(URL)
    assert (preset.file, preset.url) == (None, f"{URL}/model.safetensors")
    assert zoo.list_models(pretrained=True) == [NAME]
    shutil.rmtree(tmp_path / "cache")
    np.testing.assert_array_equal(logits(zoo.load(NAME)), logits(toy_model))


def test_a_download_goes_on_where_it_broke_off(server, published, tmp_path):
    preset = index.read_published(URL)
    content = published["model.safetensors"]
    path = tmp_path / "cache" / "x.safetensors"
    folder = path.with_name("x.safetensors.part.hub.tmp")
    hugging_face.download(f"{URL}/model.safetensors", folder)
    (whole,) = folder.glob("*.safetensors")
    download.fetch(f"{URL}/model.safetensors", path, preset.sha256, preset.size)
    assert path.read_bytes() == content
    assert not whole.exists()
    assert not folder.exists()


def test_revisions_are_part_of_the_url(server, published):
    zoo.load(f"{URL}@main")
    assert any("resolve/main" in path for _, path in server.asked)
    assert hugging_face.split(f"{URL}@v1/a/b") == ("owner/toys", "v1", "a/b")
    assert pathlib.PurePosixPath(hugging_face.split(URL)[2]) == pathlib.PurePosixPath(
        ""
    )


LOAD = """
import sys
import zoo

print(zoo.load(sys.argv[1]).name)
"""


@pytest.mark.slow
def test_another_process_finds_the_hub_by_the_environment(server, published, tmp_path):
    root = pathlib.Path(zoo.__file__).parent.parent
    environment = {
        **os.environ,
        **{"HF_ENDPOINT": server.url, "ZOO_CACHE": str(tmp_path / "new")},
        **{"HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(root)},
    }
    command = [sys.executable, "-c", LOAD, URL]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout == f"{NAME}\n", result.stderr
    assert server.asked
