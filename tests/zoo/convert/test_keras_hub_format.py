import sys
import types

import keras
import numpy as np
import pytest

from tests.helpers import torch_states
from tests.helpers.keras_hub_files import MEAN, STD, renamed, write_h5, write_preset
from zoo import convert
from zoo.convert import keras_hub_format
from zoo.presets.weight_file import variables


@pytest.fixture(scope="module")
def state():
    return torch_states.resnet()


def same_weights(ours, theirs):
    expected = variables(theirs)
    assert variables(ours).keys() == expected.keys()
    for key, variable in variables(ours).items():
        np.testing.assert_array_equal(variable, expected[key])


@pytest.mark.parametrize("kind", ["preset", "file"])
def test_weights_of_keras_hub_are_those_of_timm_in_another_layout(
    short, state, kind, tmp_path
):
    path = tmp_path / ("preset" if kind == "preset" else "it.weights.h5")
    if kind == "preset":
        write_preset(path, renamed(state))
    else:
        write_h5(path, renamed(state), "layers/res_net_backbone/layers")
    source = convert.read(path)
    expected = convert.Source("it", "0" * 64, state)
    same_weights(
        convert.convert(source, "resnet18", (64, 64, 3)),
        convert.convert(expected, "resnet18", (64, 64, 3)),
    )
    assert source.name == path.name
    assert len(source.sha256.split(", ")) == (2 if kind == "preset" else 1)


def test_the_image_converter_says_what_the_pixels_are(state, tmp_path):
    write_preset(tmp_path / "it", renamed(state))
    source = convert.read(tmp_path / "it")
    mean, variance = source.normalization
    np.testing.assert_allclose(mean, [255 * m for m in MEAN])
    np.testing.assert_allclose(variance, [(255 * s) ** 2 for s in STD])
    assert source.image_size == (96, 64)
    given = convert.read(tmp_path / "it", (0.1,) * 3, (0.2,) * 3)
    np.testing.assert_allclose(given.normalization[0], [25.5] * 3)


def test_a_file_that_keras_wrote_is_read(tmp_path):
    body = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, use_bias=False, name="conv1_conv"),
            keras.layers.BatchNormalization(name="conv1_bn"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model = keras.Sequential([body, keras.layers.Dense(2, name="predictions")])
    model.compile("adam")
    for variable in model.weights:
        variable.assign(keras.random.normal(variable.shape))
    model.save_weights(tmp_path / "it.weights.h5")
    from_file = keras_hub_format.read_h5(tmp_path / "it.weights.h5")
    from_model, metadata = keras_hub_format.read_model(model)
    assert len(from_file) == 7
    assert metadata == {}
    for key, variable in variables(model).items():
        np.testing.assert_array_equal(from_file[key], variable)
        np.testing.assert_array_equal(from_model[key], variable)


def changed(state, **changes):
    state = dict(renamed(state))
    for name, value in changes.items():
        key = name.replace("__", "/")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"stack1_block0_1_bn__gamma": None, "stack1_block0_1_bn__beta": None},
            r"no 'stack1_block0_1_bn/gamma', which 'stage2_block1_1_norm/gamma' needs",
        ),
        (
            {"stack2_block0_1_conv__kernel": np.zeros((256, 128, 3, 3), "f4")},
            r"'stack2_block0_1_conv/kernel' has shape \(256, 128, 3, 3\), and "
            r"'stage3_block1_1_conv/kernel' needs \(3, 3, 128, 256\)",
        ),
        (
            {"stack0_block0_0_conv__kernel": np.zeros((1, 1, 64, 64), "f4")},
            r"also hold 'stack0_block0_0_conv/kernel' of shape \(1, 1, 64, 64\)",
        ),
        (
            {"predictions__kernel": None, "predictions__bias": None},
            "no classifier of a network of keras_hub.*Expected predictions/kernel",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(short, state, changes, message):
    source = convert.Source("it", None, changed(state, **changes))
    with pytest.raises(ValueError, match=message):
        convert.convert(source, "resnet18", (64, 64, 3))


def test_a_vgg_of_keras_hub_is_refused(state, tmp_path):
    path = tmp_path / "it.weights.h5"
    write_h5(path, {"block1_conv1/kernel": np.zeros((3, 3, 3, 8), "f4")})
    with pytest.raises(ValueError, match="keras_hub's VGG, which has no batch norm"):
        convert.read(path)


def test_another_pooling_is_refused(state, tmp_path):
    write_preset(tmp_path / "it", renamed(state), pooling="max")
    with pytest.raises(ValueError, match="pooling=max"):
        convert.read(tmp_path / "it")


def test_files_that_are_damaged_or_do_not_name_layers_are_refused(
    state, tmp_path, monkeypatch
):
    path = tmp_path / "it.weights.h5"
    path.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match=r"it\.weights\.h5' is not a file of Keras'"):
        convert.read(path)
    write_h5(path, renamed(state), named=False)
    with pytest.raises(ValueError, match="does not say which layer 'layers/layer_0"):
        convert.read(path)
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    write_preset(tmp_path / "old", renamed(state), named=False)
    with pytest.raises(ImportError, match="pip install keras-hub"):
        convert.read(tmp_path / "old")
    (tmp_path / "old" / "task.json").write_text("[")
    write_h5(tmp_path / "old" / "model.weights.h5", renamed(state))
    (tmp_path / "old" / "task.weights.h5").unlink()
    with pytest.raises(ValueError, match=r"task\.json' is not a file of keras_hub"):
        convert.read(tmp_path / "old")


@pytest.fixture
def package(monkeypatch):
    """A stand-in of keras_hub, which has one preset; returns what was asked of it."""
    asked = []
    layers = [
        keras.layers.Conv2D(4, 3, use_bias=False, name="conv1_conv"),
        keras.layers.Dense(2, name="predictions"),
    ]
    classifier = keras.Sequential([keras.Input((8, 8, 3)), *layers])

    def from_preset(name):
        asked.append(name)
        if name != "resnet_50_imagenet":
            raise ValueError("Unknown preset identifier.\nmore")
        return classifier

    classes = types.SimpleNamespace(from_preset=from_preset)
    models = types.SimpleNamespace(ImageClassifier=classes)
    module = types.SimpleNamespace(models=models)
    monkeypatch.setitem(sys.modules, "keras_hub", module)
    return asked


def test_a_name_is_loaded_by_the_package(package):
    source = convert.read("keras_hub:resnet_50_imagenet")
    assert package == ["resnet_50_imagenet"]
    assert (source.network, source.tag) == ("resnet50", "imagenet")
    assert (source.license, source.sha256) == ("apache-2.0", None)
    assert source.name == "keras_hub:resnet_50_imagenet"
    assert source.state.keys() == {
        "conv1_conv/kernel",
        "predictions/kernel",
        "predictions/bias",
    }


def test_a_preset_that_cannot_be_had_is_named(package, monkeypatch):
    with pytest.raises(
        ConnectionError, match=r"preset 'nothing' of keras_hub \(Unknown .*ier\)\. With"
    ):
        convert.read("keras_hub:nothing")
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="ZOO_OFFLINE is set.*save_to_preset"):
        convert.read("keras_hub:resnet_50_imagenet")
