"""Weights of timm that are downloaded and converted on first use, from a stand-in."""

import http.server
import json
import multiprocessing
import threading
import urllib.parse

import numpy as np
import pytest
import safetensors.numpy

import zoo
from tests.helpers import torch_states
from zoo import convert, finding, presets
from zoo.convert import first_use
from zoo.presets import index
from zoo.presets.weight_file import variables
from zoo.storage import files

COMMIT = "0123456789abcdef" * 2 + "01234567"
REPOSITORY = "timm/resnet18.mine_in1k"


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub: a head with the sum and a redirect to a storage, which has ranges."""

    def do_HEAD(self):  # noqa: N802
        self.server.asked.append(("HEAD", self.path, None))
        if self.path.startswith("/old/"):  # A repository that was renamed.
            self.redirect(self.path.replace("/old/", "/timm/"))
        elif f"/{REPOSITORY}/resolve/main/model.safetensors" == self.path:
            self.redirect(f"{self.server.storage}/storage", self.server.headers)
        else:
            self.send_error(404)

    def do_GET(self):  # noqa: N802
        start, content = 0, self.server.content
        if header := self.headers["Range"]:
            start = int(header.removeprefix("bytes=").removesuffix("-"))
        self.server.asked.append(("GET", self.path, start))
        if self.path == f"/{REPOSITORY}/resolve/{COMMIT}/model.safetensors":
            self.redirect(f"{self.server.storage}/storage", self.server.headers)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.server.limit])

    def redirect(self, location, headers=None):
        self.send_response(307 if headers is None else 302)
        for key, value in {**(headers or {}), "Location": location}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    state = torch_states.resnet(base=16)
    safetensors.numpy.save_file(state, path)
    return path


@pytest.fixture
def hub(weights, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.content, server.limit, server.asked = weights.read_bytes(), 1 << 30, []
    server.storage = f"http://localhost:{server.server_address[1]}"  # Another host.
    server.headers = {
        "X-Linked-ETag": f'"{files.sha256(weights)}"',
        "X-Linked-Size": str(len(server.content)),
        "X-Repo-Commit": COMMIT,
        "ETag": '"of something else"',
    }
    options = {"poll_interval": 0.02}
    thread = threading.Thread(target=server.serve_forever, kwargs=options)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    monkeypatch.setenv("HF_ENDPOINT", url)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def make_preset(name="resnet18.mine_in1k", **fields):
    source = fields.pop("source", "timm:resnet18.mine_in1k")
    defaults = {
        "sha256": None,
        "size": None,
        "input_shape": (64, 64, 3),
        "num_classes": 5,
        "mean": (120.0, 110.0, 100.0),
        "variance": (50.0, 60.0, 70.0),
        "url": f"{first_use.HUB}/{REPOSITORY}/resolve/main/model.safetensors",
        "recipe": "converted",
    }
    return presets.Preset(name=name, source=source, **{**defaults, **fields})


@pytest.fixture
def cache(tmp_path, monkeypatch, narrow):
    """An empty cache, and a package with one preset."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "FOLDER", tmp_path)
    index.add(make_preset())
    return tmp_path / "cache"


@pytest.fixture
def narrow(short, monkeypatch):
    """Makes `resnet18` a quarter as wide."""
    row = zoo.registry.ARCHITECTURES["resnet18"]
    row = type(row)(row, filters=16)
    monkeypatch.setitem(zoo.registry.ARCHITECTURES, "resnet18", row)


def left(cache):
    return sorted(p.name for p in cache.iterdir() if not p.name.endswith(".lock"))


STORED = ["resnet18.mine_in1k.json", "resnet18.mine_in1k.safetensors"]


def test_a_preset_is_downloaded_and_converted_once(hub, cache, weights):
    model = zoo.load("resnet18.mine_in1k")
    expected = convert.convert(
        convert.read(weights, *[(0.5,) * 3] * 2), "resnet18", (64, 64, 3)
    )
    theirs = variables(expected)
    for key, variable in variables(model).items():
        np.testing.assert_array_equal(variable, theirs[key])
    assert model.name == "resnet18.mine_in1k"
    np.testing.assert_allclose(
        np.ravel(model.get_layer("normalize").mean), (120, 110, 100)
    )
    main, commit = (
        f"/{REPOSITORY}/resolve/{revision}/model.safetensors"
        for revision in ("main", COMMIT)
    )
    asked = [("HEAD", main, None), ("GET", commit, 0), ("GET", "/storage", 0)]
    assert hub.asked == asked
    zoo.load("resnet18")
    assert hub.asked == asked
    assert left(cache) == STORED


def test_the_sum_is_recorded_beside_the_weights(hub, cache, weights):
    path = finding.find("resnet18").path
    record = json.loads((cache / STORED[0]).read_text())
    assert record["source"] == "timm:resnet18.mine_in1k"
    assert record["source_sha256"] == files.sha256(weights)
    assert record["commit"] == COMMIT
    assert urllib.parse.urlsplit(record["url"]).path.split("/")[-2] == COMMIT
    assert record["sha256"] == files.sha256(path)
    assert record["size"] == path.stat().st_size


def test_what_was_altered_in_the_cache_is_refused(hub, cache):
    path = finding.find("resnet18").path
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="was altered: .* Delete it to download"):
        zoo.load("resnet18")
    assert path.exists()
    (cache / STORED[0]).write_text("{")
    with pytest.raises(ValueError, match=r"record '.*json' of a download is damaged"):
        zoo.load("resnet18")


def test_another_file_than_at_first_use_is_refused(hub, cache):
    path = finding.find("resnet18").path
    path.unlink()
    before = (cache / STORED[0]).read_text()
    hub.headers["X-Linked-ETag"] = "f" * 64
    with pytest.raises(
        ValueError,
        match=rf"announced with the sha256 {'f' * 64}, .*json' recorded at first use",
    ):
        zoo.load("resnet18")
    assert (cache / STORED[0]).read_text() == before
    assert hub.asked[-1][0] == "HEAD"


def test_weights_that_went_from_the_cache_come_again(hub, cache):
    path = finding.find("resnet18").path
    record, content = (cache / STORED[0]).read_text(), path.read_bytes()
    path.unlink()
    assert finding.find("resnet18").path.read_bytes() == content
    assert (cache / STORED[0]).read_text() == record


@pytest.mark.parametrize("right", [True, False])
def test_a_sum_in_the_preset_is_believed_before_the_hub(hub, cache, weights, right):
    known = files.sha256(weights) if right else "a" * 64
    preset = make_preset(sha256=known)
    if right:
        assert finding.locate(preset).is_file()
        return
    with pytest.raises(
        ValueError, match=f"not the one that 'presets.json' has, {known}"
    ):
        finding.locate(preset)
    assert [method for method, *_ in hub.asked] == ["HEAD"]


def test_a_download_that_is_not_what_was_announced_is_thrown_away(hub, cache):
    hub.content = hub.content[:-1] + bytes([hub.content[-1] ^ 1])
    with pytest.raises(ValueError, match="What came from .* is not the file: .*alter"):
        zoo.load("resnet18")
    assert left(cache) == []


def test_a_download_that_broke_off_goes_on(hub, cache):
    hub.limit = 300_000
    path = finding.find("resnet18").path
    starts = [start for _, path, start in hub.asked if path == "/storage"]
    assert starts[:3] == [0, 300_000, 600_000]
    assert len(starts) == -(-len(hub.content) // 300_000)
    assert path.is_file()
    assert left(cache) == STORED


def test_a_process_that_ended_in_a_download_has_begun_it(hub, cache):
    cache.mkdir()
    part = cache / "timm-resnet18.mine_in1k.safetensors.part"
    part.write_bytes(hub.content[:123_456])
    finding.find("resnet18")
    assert hub.asked[-1] == ("GET", "/storage", 123_456)


def test_offline_the_cache_is_enough_and_else_the_way_is_named(hub, cache, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    by_hand = cache / "timm-resnet18.mine_in1k.safetensors"
    with pytest.raises(
        ConnectionError, match=f"ZOO_OFFLINE is set.*put it at '{by_hand}'"
    ):
        zoo.load("resnet18")
    monkeypatch.delenv("ZOO_OFFLINE")
    zoo.load("resnet18")
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    asked = len(hub.asked)
    zoo.load("resnet18")
    assert len(hub.asked) == asked


def test_a_file_put_there_by_hand_is_converted_and_recorded(
    cache, weights, monkeypatch
):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    cache.mkdir()
    by_hand = cache / "timm-resnet18.mine_in1k.safetensors"
    by_hand.write_bytes(weights.read_bytes())
    zoo.load("resnet18")
    assert left(cache) == STORED
    record = json.loads((cache / STORED[0]).read_text())
    assert record["source_sha256"] == files.sha256(weights)
    assert record["commit"] is None
    (cache / STORED[1]).unlink()
    by_hand.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"safetensors' has the sha256 .* first use"):
        zoo.load("resnet18")
    assert by_hand.exists()


def test_a_server_that_announces_no_sum_is_not_asked_for_the_file(hub, cache):
    for header, value in (("X-Linked-ETag", "123abc"), ("X-Linked-Size", "many")):
        kept, hub.headers[header] = hub.headers[header], value
        with pytest.raises(ValueError, match=f"not announce .*={value!r}"):
            zoo.load("resnet18")
        hub.headers[header] = kept
    assert {method for method, *_ in hub.asked} == {"HEAD"}


def test_a_repository_that_moved_is_followed(hub, cache):
    url = f"{first_use.HUB}/old/resnet18.mine_in1k/resolve/main/model.safetensors"
    announced = first_use.announce(first_use._mirrored(url), cache / "x")
    assert announced.commit == COMMIT
    assert [method for method, *_ in hub.asked] == ["HEAD", "HEAD"]


def test_without_a_network_the_url_and_the_way_are_named(cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ConnectionError, match=r"http://127.0.0.1:9/timm/.*refused.*put it at '"
    ):
        zoo.load("resnet18")


def test_a_file_that_does_not_fit_is_refused_and_kept(hub, cache):
    index.add(make_preset(num_classes=6))
    with pytest.raises(ValueError, match=r"'fc\.weight' has shape \(5, 128\)"):
        zoo.load("resnet18")
    assert left(cache) == ["timm-resnet18.mine_in1k.safetensors"]


def test_two_processes_download_and_convert_once(hub, cache, monkeypatch):
    # A fork of this process cannot compute with TensorFlow.
    monkeypatch.setattr(
        first_use, "_convert", lambda p, old, s, new: new.hardlink_to(old)
    )
    context = multiprocessing.get_context("fork")
    preset = finding.choose(zoo.parse("resnet18"))
    processes = [context.Process(target=finding.locate, args=(preset,)) for _ in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert [method for method, *_ in hub.asked] == ["HEAD", "GET", "GET"]
    assert left(cache) == STORED


def test_methods_are_put_into_the_plain_network_with_a_warning(hub, cache):
    with pytest.warns(UserWarning, match="'resnet18.mine_in1k' was trained without sm"):
        model = zoo.load("resnet18_smooth_mcdo.mine_in1k", num_classes=5)
    assert model.name == "resnet18_smooth_mcdo.mine_in1k"
    plain = variables(zoo.load("resnet18"))
    for key, variable in variables(model).items():
        np.testing.assert_array_equal(variable, plain[key])
    with pytest.warns(UserWarning, match="trained without flipout: 'resnet18_flipout."):
        model = zoo.load("resnet18_flipout")
    assert model.name == "resnet18_flipout.mine_in1k"


def test_names_find_the_converted_weights_that_share_the_most(cache):
    index.add(make_preset("resnet18_aa.other", source="timm:resnetaa18.other"))
    index.add(make_preset("resnet18_aa.mine_in1k", source="timm:resnetaa18.mine"))
    index.add(make_preset("vgg11_mlp.tv", source="timm:vgg11_bn.tv"))
    index.add(make_preset("resnet18_mcdo.ours", source=None, file="x"))
    (cache.parent / "pretrained").mkdir()
    (cache.parent / "pretrained/x").touch()
    for name, expected in (
        ("resnet18", "resnet18.mine_in1k"),
        ("resnet18_smooth", "resnet18.mine_in1k"),
        ("resnet18_smooth_aa", "resnet18_aa.other"),
        ("resnet18_smooth_aa.mine_in1k", "resnet18_aa.mine_in1k"),
        ("resnet18_smooth.mine_in1k", "resnet18.mine_in1k"),
        ("resnet18_mcdo", "resnet18.mine_in1k"),  # It is listed first.
        ("resnet18_mcdo.ours", "resnet18_mcdo.ours"),
        ("resnet18_mcdo_smooth", "resnet18.mine_in1k"),
        ("vgg11_mlp_smooth", "vgg11_mlp.tv"),
    ):
        assert finding.choose(zoo.parse(name)).name == expected, name
    for name in ("resnet34", "vgg11", "resnet18.unknown", "resnet18_smooth.ours"):
        with pytest.raises(ValueError, match="There are no weights for"):
            finding.choose(zoo.parse(name))


def test_without_a_network_a_name_means_the_weights_that_are_here(cache, monkeypatch):
    index.add(make_preset("resnet18_mcdo.ours", source=None, url=None, file="x"))
    index.add(make_preset("resnet18_mcdo.far", source=None, file="y"))
    assert finding.choose(zoo.parse("resnet18_mcdo")).name == "resnet18.mine_in1k"
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    # Where none are here, the error is to be about those that come first.
    assert finding.choose(zoo.parse("resnet18_mcdo")).name == "resnet18.mine_in1k"
    (cache.parent / "pretrained").mkdir()
    (cache.parent / "pretrained/x").touch()
    with pytest.warns(UserWarning, match=r"'resnet18.mine_in1k'.* 'resnet18_mcdo.ours"):
        assert finding.choose(zoo.parse("resnet18_mcdo")).name == "resnet18_mcdo.ours"
    monkeypatch.setenv("ZOO_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://localhost:9")
    with pytest.raises(ConnectionError, match=r"machine: resnet18_mcdo\.ours\."):
        zoo.load("resnet18_mcdo")
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    (cache / "resnet18.mine_in1k.safetensors").touch()
    assert finding.choose(zoo.parse("resnet18_mcdo")).name == "resnet18.mine_in1k"


def test_a_description_says_what_is_known_before_the_download(cache):
    text = zoo.describe("resnet18_smooth.mine_in1k")
    assert text.splitlines()[0] == "resnet18_smooth.mine_in1k"
    assert "converted on first use, https://huggingface.co/timm/resnet18.mine" in text
    assert "sha256 as announced there" in text


CONVERTED = [
    preset
    for preset in index.read().values()
    if (preset.source or "").startswith("timm:")
]


@pytest.mark.parametrize("preset", CONVERTED, ids=lambda preset: preset.name)
def test_packaged_entries_name_what_they_convert(preset):
    network, _, tag = preset.source.removeprefix("timm:").partition(".")
    assert preset.name == f"{convert.ours(network)}.{tag}"
    source = convert.Source(preset.source, None, {})
    assert preset.license == source.license
    assert preset.url == f"{first_use.HUB}/timm/{network}.{tag}/resolve/main/{FILE}"
    for ours, theirs in zip(
        (preset.mean, preset.variance), source.normalization, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert (preset.num_classes, preset.recipe) == (1000, "converted")
    assert preset.name in zoo.list_models(pretrained=True)


FILE = "model.safetensors"


def test_packaged_entries_have_the_tags_that_are_asked_for():
    names = {preset.name for preset in CONVERTED}
    tags = {f"resnet50.{tag}_in1k" for tag in ("a1", "am", "ram", "tv2")}
    assert tags | {"resnet50_aa.a1h_in1k", "resnet50_blur.bt_in1k"} <= names
    assert finding.choose(zoo.parse("resnet50")).tag == "a1_in1k"
    assert finding.choose(zoo.parse("resnet50_smooth_mcdo")).name == "resnet50.a1_in1k"
    assert finding.choose(zoo.parse("resnet20_smooth")).tag == "fashion_mnist"
