import functools
import json
import sys
import types

import numpy as np
import pytest
import safetensors.numpy

import zoo
from tests.helpers import torch_states
from zoo import convert
from zoo.presets import index
from zoo.publishing import publish

CONFIG = {
    "architecture": "resnet18",
    "label_names": ["ant", "bee", "cat", "dog", "eel"],
    "pretrained_cfg": {
        "tag": "ra4_e3600_in1k",
        "input_size": [3, 96, 64],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.5, 0.1],
    },
}


@pytest.fixture
def folder(tmp_path):
    """What the hub has of one of timm's names."""
    folder = tmp_path / "timm"
    folder.mkdir()
    state = torch_states.resnet()
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture
def hub(folder, monkeypatch):
    """A stand-in of huggingface_hub; returns what was asked of it."""
    calls = []

    def hf_hub_download(repository, file, local_files_only):
        calls.append((repository, file, local_files_only))
        if local_files_only or repository != "timm/resnet18.mine_in1k":
            raise FileNotFoundError("no such file on disk\nmore")
        return str(folder / file)

    module = types.SimpleNamespace(hf_hub_download=hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return calls


def test_a_config_of_timm_beside_the_weights_is_read(folder):
    for path in (folder, folder / "model.safetensors"):
        source = convert.read(path)
        assert source.tag == "ra4_e3600_in1k"
        assert source.license == "apache-2.0"
        assert source.image_size == (96, 64)
        mean, variance = source.normalization
        assert mean == (127.5,) * 3
        np.testing.assert_allclose(variance, [63.75**2, 127.5**2, 25.5**2])


def test_without_a_config_it_is_as_on_imagenet(folder):
    (folder / "config.json").unlink()
    source = convert.read(folder / "model.safetensors")
    for ours, known in zip(source.normalization, zoo.registry.IMAGENET, strict=True):
        np.testing.assert_allclose(ours, known)
    assert (source.tag, source.license) == ("converted", None)
    assert source.image_size == (224, 224)


def test_given_pixels_replace_those_of_the_config(folder):
    source = convert.read(folder, ["0.1", "0.2", "0.4"], ["1", "1", "0.2"])
    np.testing.assert_allclose(source.normalization[0], [25.5, 51, 102])
    np.testing.assert_allclose(source.normalization[1], [255**2, 255**2, 51**2])


@functools.cache
def small_resnet18():
    return zoo.build("resnet18", (64, 64, 3), 5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_weights_of_any_floating_type_are_read_as_float32(dtype, tmp_path):
    state = torch_states.resnet(depths=(2, 2, 2, 2))
    arrays = {
        k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in state.items()
    }
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(arrays, path)
    found = convert.read(path).state
    for key, array in arrays.items():
        assert found[key].dtype == state[key].dtype
        np.testing.assert_array_equal(found[key], array.astype(state[key].dtype))
    convert.load_state(small_resnet18(), found)


def test_a_name_of_timm_comes_from_the_hub(hub, folder):
    (folder / "config.json").write_text("{}")
    source = convert.read("timm:resnet18.mine_in1k")
    files = "model.safetensors", "config.json"
    assert hub == [("timm/resnet18.mine_in1k", file, False) for file in files]
    assert source.tag == "mine_in1k"
    assert source.name == "timm:resnet18.mine_in1k"
    assert source.sha256 == zoo.storage.files.sha256(folder / "model.safetensors")


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_a_network_the_error_says_what_to_do(hub, offline, monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", offline)
    reason = "ZOO_OFFLINE is set" if offline == "1" else "no such file on disk"
    url = "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    with pytest.raises(ConnectionError) as error:
        convert.read("timm:resnet18.a1_in1k")
    assert str(error.value).startswith(f"Cannot download {url} ({reason}). Without a ")
    assert "give that folder as the source" in str(error.value)
    assert hub[0][2] == (offline == "1")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="pip install huggingface_hub.*resolve/ma"):
        convert.read("timm:resnet18")


@pytest.mark.parametrize(
    "wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "model.module."]
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_names_are_those_of_the_network_whatever_wrapped_it(
    tmp_path, monkeypatch, wrapper, suffix
):
    state = torch_states.resnet()
    wrapped = {wrapper + key: array for key, array in state.items()}
    path = tmp_path / f"wrapped{suffix}"
    safetensors.numpy.save_file(wrapped, path)
    # PyTorch is not needed to know what becomes of the names in its files.
    monkeypatch.setattr(convert.source, "read_pth", safetensors.numpy.load_file)
    found = convert.read(path).state
    assert set(found) == set(state)
    for key, array in state.items():
        np.testing.assert_array_equal(found[key], array)


def test_two_networks_in_one_file_are_refused(folder):
    state = torch_states.resnet()
    both = state | {f"module.{key}": array for key, array in state.items()}
    safetensors.numpy.save_file(both, folder / "model.safetensors")
    with pytest.raises(ValueError, match="several networks. Received: 'module"):
        convert.read(folder)


def test_a_file_that_is_missing_or_damaged_is_named(folder):
    with pytest.raises(FileNotFoundError, match="no weights at .*nothing"):
        convert.read(folder / "nothing.safetensors")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors' or .*model\.bin"):
        convert.read(folder.parent)
    (folder / "model.safetensors").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        convert.read(folder)
    (folder / "config.json").write_text("{")
    torch_state = torch_states.resnet()
    safetensors.numpy.save_file(torch_state, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"config\.json' is not JSON"):
        convert.read(folder)


@pytest.mark.filterwarnings("ignore:'model.safetensors' was trained without")
def test_a_converted_model_is_published_as_what_it_is(folder, short, tmp_path):
    source = convert.read(folder)
    model = convert.convert(source, "resnet18_smooth_mcdo")
    output = tmp_path / "output"
    preset = convert.write(source, model, output, "zoo-convert --x", "0123abc")
    publish.check_published(output)
    assert index.read_published(output) == preset
    assert preset.name == "resnet18_smooth_mcdo.ra4_e3600_in1k"
    settings = {"source": "model.safetensors", "sha256": source.sha256}
    assert preset.settings == {**settings, "network": "resnet18"}
    assert preset.classes == ("ant", "bee", "cat", "dog", "eel")
    text = (output / "README.md").read_text(encoding="utf-8")
    assert "## Provenance\n\n    zoo-convert --x\n" in text
    assert "**They were trained without smooth, mcdo.**" in " ".join(text.split())
    assert "## Training" not in text
    assert "None" not in text.replace("None were measured.", "")
    loaded = zoo.load(preset.name, weights=output)
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        if ours.path.endswith(("kernel", "mean", "variance")):
            np.testing.assert_array_equal(ours, theirs)


def test_a_plain_model_without_names_of_classes_has_a_short_card(
    folder, short, tmp_path
):
    source = convert.read(folder)
    del source.config["label_names"]
    model = convert.convert(source, "resnet18")
    convert.write(source, model, tmp_path / "it", "zoo-convert", "0", "mit")
    text = (tmp_path / "it" / "README.md").read_text(encoding="utf-8")
    assert "trained without" not in text
    told = "logits: numbers from 0 to 4, those of the data set."
    assert told in " ".join(text.split())
    assert 'license: "mit"' in text


def test_an_unknown_license_is_asked_for(folder, short, tmp_path):
    (folder / "config.json").unlink()
    source = convert.read(folder)
    model = convert.convert(source, "resnet18", (64, 64, 3))
    with pytest.raises(ValueError, match="license of the weights 'model.safetensors'"):
        convert.write(source, model, tmp_path / "it", "zoo-convert", "0")
