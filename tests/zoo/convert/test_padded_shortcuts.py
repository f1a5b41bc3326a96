"""CIFAR ResNets whose shortcuts pad on both sides, in ours that pad behind."""

import dataclasses
import json

import numpy as np
import pytest

import zoo
from tests.helpers import torch_files, torch_states
from zoo import convert
from zoo.convert import first_use, padded_shortcuts
from zoo.presets import index
from zoo.storage import files

PUBLISHED = "akamaster_cifar10"
STATE = torch_states.padded_resnet()
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def forward(state, images):
    """Their network in float64 by its definition, channels first."""
    x = ((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    x = np.maximum(norm(state, "bn1", conv(state, "conv1", x, 1)), 0)
    for stage in (1, 2, 3):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in state:
            name, strides = f"layer{stage}.{block}", 1 + (stage > 1 and block == 0)
            y = norm(state, f"{name}.bn1", conv(state, f"{name}.conv1", x, strides))
            y = conv(state, f"{name}.conv2", np.maximum(y, 0), 1)
            y = norm(state, f"{name}.bn2", y)
            extra = (y.shape[1] - x.shape[1]) // 2
            x = x[:, :, ::strides, ::strides]
            x = np.maximum(np.pad(x, ((0, 0), (extra, extra), (0, 0), (0, 0))) + y, 0)
            block += 1
    x = x.mean((2, 3))
    return x @ state["linear.weight"].T + state["linear.bias"]


def conv(state, name, x, strides):
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    windows = windows[:, :, ::strides, ::strides]
    return np.einsum(
        "bihwyx,oiyx->bohw", windows, state[f"{name}.weight"], optimize=True
    )


def norm(state, name, x):
    keys = "weight", "bias", "running_mean", "running_var"
    gamma, beta, mean, variance = (
        state[f"{name}.{key}"].astype("float64")[:, None, None] for key in keys
    )
    return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A checkpoint of a training on several devices, in the old format."""
    path = tmp_path_factory.mktemp("theirs") / "resnet20-0.th"
    state = {f"module.{k}": torch_files.tensor(v) for k, v in STATE.items()}
    checkpoint = {"state_dict": state, "best_prec1": 10.0}
    path.write_bytes(torch_files.content(checkpoint, legacy=True))
    return path


@pytest.fixture
def package(tmp_path, monkeypatch, path):
    """A package whose one preset is that file; and an empty cache."""
    preset = dataclasses.replace(
        index.read()[f"resnet20.{PUBLISHED}"],
        sha256=files.sha256(path),
        size=path.stat().st_size,
        source=f"akamaster:{path.name}",
        url=f"http://127.0.0.1:9/{path.name}",
    )
    monkeypatch.setattr(index, "FOLDER", tmp_path / "package")
    (tmp_path / "package").mkdir()
    index.add(preset)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_WEIGHTS", raising=False)
    return tmp_path


def images(count=2):
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


def test_the_logits_are_those_of_the_definition(path):
    model = convert.load(path, "resnet20")
    assert model.input_shape[1:] == (32, 32, 3)
    logits = np.asarray(model(images(), training=False))
    expected = forward(STATE, images())
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_channels_that_are_padded_go_behind_those_that_were_there():
    orders = padded_shortcuts._orders(torch_states.padded_resnet(1, base=4))
    assert orders[1].tolist() == [0, 1, 2, 3]
    assert orders[2].tolist() == [2, 3, 4, 5, 0, 1, 6, 7]
    assert orders[3].tolist() == [6, 7, 8, 9, 4, 5, 10, 11, 0, 1, 2, 3, 12, 13, 14, 15]


def test_other_states_stay_as_they_are():
    state = torch_states.resnet(base=4)
    found = padded_shortcuts.reorder(state)
    assert all(found[key] is array for key, array in state.items())
    assert padded_shortcuts.config(state) == {}


def test_a_network_of_another_depth_is_refused(path):
    with pytest.raises(ValueError, match="resnet32.*no 'layer1.3.conv1.weight'"):
        convert.load(path, "resnet32")
    with pytest.raises(ValueError, match=r"resnet18.*'conv1.weight' has shape \(16, 3"):
        convert.load(path, "resnet18")


def test_a_preset_is_converted_from_a_file_without_a_network(
    package, path, monkeypatch
):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    by_hand = package / "cache" / f"akamaster-{path.name}"
    with pytest.raises(ConnectionError, match=f"/{path.name} .*put it at '{by_hand}'"):
        zoo.load(f"resnet20.{PUBLISHED}")
    monkeypatch.setenv("ZOO_WEIGHTS", str(path.parent))
    model = zoo.load(f"resnet20.{PUBLISHED}")
    expected = forward(STATE, images())
    logits = np.asarray(model(images(), training=False))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert path.is_file()  # It is the user's.
    record = package / "cache" / f"resnet20.{PUBLISHED}.json"
    assert json.loads(record.read_text())["source_sha256"] == files.sha256(path)
    monkeypatch.delenv("ZOO_WEIGHTS")
    zoo.load("resnet20")  # From the cache.


def test_another_file_of_that_name_is_refused(package, path, monkeypatch, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / path.name).write_bytes(path.read_bytes() + b"x")
    monkeypatch.setenv("ZOO_WEIGHTS", str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"\.th' has the sha256 .*'presets.json' has"):
        zoo.load(f"resnet20.{PUBLISHED}")


def test_a_known_sum_needs_no_announcement(package, path, monkeypatch):
    def fetch(url, target, sha256, size):
        assert (url, size) == (f"http://127.0.0.1:9/{path.name}", path.stat().st_size)
        target.write_bytes(path.read_bytes())
        return files.check(target, sha256)

    monkeypatch.setattr(first_use.download, "fetch", fetch)
    zoo.load(f"resnet20.{PUBLISHED}")
    left = [p.name for p in (package / "cache").iterdir() if p.suffix != ".lock"]
    names = (f"resnet20.{PUBLISHED}{suffix}" for suffix in (".json", ".safetensors"))
    assert sorted(left) == list(names)


def test_published_weights_are_named_by_their_sums():
    found = [p for p in index.read().values() if p.tag == PUBLISHED]
    assert [p.stem for p in found] == [f"resnet{n}" for n in (20, 32, 44, 56)]
    for preset in found:
        name = preset.url.rpartition("/")[2]
        assert name == f"{preset.stem}-{preset.sha256[:8]}.th"
        assert preset.license == "bsd-2-clause"
        assert (preset.input_shape, len(preset.classes)) == ((32, 32, 3), 10)
        assert preset.seen == {"images": 50_000, "held_out": 0}
