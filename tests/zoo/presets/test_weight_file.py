import sys

import keras
import numpy as np
import pytest
import safetensors.numpy
from keras import ops

import layers
import zoo
from tests.helpers import marks, processes
from tests.helpers.commands import quick
from tests.helpers.weight_files import SHAPE, contents, random_weights, small_model
from zoo.presets import weight_file
from zoo.storage import files


def assert_equal_weights(model, other, rtol=0):
    first, second = contents(model), contents(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=rtol, err_msg=name)


def test_a_file_holds_every_weight_by_layer_and_variable(model, path):
    arrays = safetensors.numpy.load_file(path)
    expected = {
        f"{layer.name}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.weights
    }
    assert arrays.keys() == expected.keys()
    assert "stage1_block1_1_conv/kernel" in arrays
    assert "stage3_block3_2_norm/moving_variance" in arrays
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == "float32"


def test_a_file_does_not_hold_the_state_of_random_layers(tmp_path):
    stochastic = small_model("resnet20_mcdo_flipout")
    assert any(v.name == "random_state" for v in stochastic.weights)
    weight_file.save_weights(stochastic, tmp_path / "file")
    names = safetensors.numpy.load_file(tmp_path / "file")
    assert "head/kernel_rho" in names
    assert not any("random_state" in name for name in names)


def test_loading_gives_the_same_function(model, path):
    other = small_model()
    weight_file.load_weights(other, path, files.sha256(path))
    assert_equal_weights(model, other)
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("uint8")
    expected = model(images, training=False)
    np.testing.assert_array_equal(other(images, training=False), expected)


def test_two_saves_of_a_model_are_the_same_bytes(model, path, tmp_path):
    weight_file.save_weights(model, tmp_path / "again", {"b": 1, "a": [2]})
    weight_file.save_weights(model, tmp_path / "other", {"a": [2], "b": 1})
    content = (tmp_path / "again").read_bytes()
    assert content == (tmp_path / "other").read_bytes()
    assert content != path.read_bytes()


def chain(names):
    """Equal layers in a row, called by the names in that order."""
    x = inputs = keras.Input((4,))
    for name in names:
        x = keras.layers.Dense(4, name=name)(x)
    return keras.Model(inputs, x)


def test_weights_go_to_the_layer_of_their_name_whatever_the_order(tmp_path):
    first, second = chain(["a", "b", "c"]), chain(["c", "a", "b"])
    random_weights(first)
    weight_file.save_weights(first, tmp_path / "file")
    weight_file.load_weights(second, tmp_path / "file")
    for name in "abc":
        expected, found = first.get_layer(name), second.get_layer(name)
        np.testing.assert_array_equal(found.kernel, expected.kernel)
        np.testing.assert_array_equal(found.bias, expected.bias)


def test_layers_of_one_name_are_an_error(tmp_path):
    inner = chain(["a"])
    x = inputs = keras.Input((4,))
    outer = keras.Model(inputs, keras.layers.Dense(4, name="a")(inner(x)))
    with pytest.raises(ValueError, match="Two weights .* are called 'a/kernel'"):
        weight_file.save_weights(outer, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_names_do_not_depend_on_where_a_model_was_built(model):
    with keras.name_scope("scope"):
        scoped = small_model()
    nested = keras.Sequential([scoped])
    assert weight_file.variables(scoped).keys() == weight_file.variables(model).keys()
    assert weight_file.variables(nested).keys() == weight_file.variables(model).keys()


def test_names_of_layers_inside_layers_keep_the_inner_name():
    inputs = keras.Input((8, 8, 3))
    layer = layers.SpatialSmoothing(batch_norm=True, name="stage1_smooth")
    names = weight_file.variables(keras.Model(inputs, layer(inputs)))
    assert "stage1_smooth/norm/gamma" in names


def test_half_precision_files_load_into_full_precision(model, tmp_path):
    weight_file.save_weights(model, tmp_path / "full")
    weight_file.save_weights(model, tmp_path / "half", dtype="float16")
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "full").stat().st_size
    other = small_model()
    weight_file.load_weights(other, tmp_path / "half")
    assert {v.dtype for v in other.trainable_variables} == {"float32"}
    assert_equal_weights(model, other, rtol=2**-11)


@pytest.mark.parametrize("value, dtype", [(np.nan, None), (1e6, "float16")])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value, dtype):
    broken = chain(["a", "b"])
    broken.get_layer("b").bias.assign([0, 0, value, 0])
    with pytest.raises(ValueError, match="'b/bias' .* not finite"):
        weight_file.save_weights(broken, tmp_path / "file", dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_metadata_says_what_the_model_is(tmp_path):
    normalization = ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    model = zoo.build("resnet20_mcdo", SHAPE, 4, normalization)
    weight_file.save_weights(model, tmp_path / "file", {"seed": 7})
    assert weight_file.read_metadata(tmp_path / "file") == {
        "name": "resnet20_mcdo",
        "input_shape": [16, 16, 3],
        "num_classes": 4,
        "mean": [1, 2, 3],
        "variance": [4, 5, 6],
        "layers": {"MCDropout": {"rate": 0.3, "channelwise": False}},
        "seed": 7,
    }


def test_a_file_of_another_program_has_no_metadata(tmp_path):
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "file")
    assert weight_file.read_metadata(tmp_path / "file") == {}


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_older_file(model, path, monkeypatch, error):
    before = path.read_bytes()

    def fail(arrays, file, metadata):
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(type(error)):
        weight_file.save_weights(model, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_weights_of_the_plain_network_load_into_its_stochastic_sibling(model, path):
    sibling = small_model("resnet20_smooth_mcdo_flipout_blurpool")
    rho = ops.convert_to_numpy(sibling.get_layer("head").kernel_rho)
    weight_file.load_weights(sibling, path)
    expected, found = contents(model), contents(sibling)
    for name, value in expected.items():
        np.testing.assert_array_equal(found.pop(name), value)
    assert found
    assert all(name.endswith("/kernel_rho") for name in found)
    np.testing.assert_array_equal(sibling.get_layer("head").kernel_rho, rho)


def test_the_head_may_be_left_out(model, path):
    other = small_model(num_classes=7)
    head = ops.convert_to_numpy(other.get_layer("head").kernel)
    weight_file.load_weights(other, path, skip=("head",))
    np.testing.assert_array_equal(other.get_layer("head").kernel, head)
    np.testing.assert_array_equal(
        other.get_layer("stem_conv").kernel, model.get_layer("stem_conv").kernel
    )


ELSEWHERE = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
import keras
import numpy as np

import layers
import zoo
from zoo.presets import weight_file

model = zoo.load("resnet20_mcdo", weights=sys.argv[1])
with layers.stream(3):
    logits = model(np.load(sys.argv[2]), training=False)
np.save(sys.argv[3], keras.ops.convert_to_numpy(logits))
weight_file.save_weights(model, sys.argv[4])
"""


@pytest.mark.parametrize("backend", marks.OTHERS)
def test_files_are_the_same_elsewhere_without_tensorflow(backend, tmp_path):
    pytest.importorskip(backend)
    model = small_model("resnet20_mcdo")
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("uint8")
    paths = [tmp_path / name for name in ("there", "images.npy", "logits.npy", "back")]
    weight_file.save_weights(model, paths[0])
    np.save(paths[1], images)
    command = [sys.executable, "-c", ELSEWHERE, *map(str, paths)]
    environment = quick(backend)
    processes.run(command, env=environment, check=True)
    with layers.stream(3):
        logits = model(images, training=False)
    np.testing.assert_allclose(np.load(paths[2]), logits, rtol=1e-4, atol=1e-4)
    assert paths[3].read_bytes() == paths[0].read_bytes()


class Scaled(layers.RandomLayer):
    """Has a weight that the plain layer has not, and one that it has."""

    optional_weights = ("scale",)

    def build(self, input_shape):
        self.kernel = self.add_weight(input_shape[-1:], "ones", name="kernel")
        self.scale = self.add_weight(input_shape[-1:], "ones", name="scale")

    def call(self, x):
        return x * self.kernel * self.scale


def test_weights_that_a_layer_declares_optional_need_not_be_in_a_file(tmp_path):
    images = keras.Input((2,))
    dense = layers.DenseFlipout(2, name="dense")
    model = keras.Model(images, dense(Scaled(name="scaled")(images)))
    path = tmp_path / "weights.safetensors"
    weight_file.save_weights(model, path)
    arrays = safetensors.numpy.load_file(path)

    def load(*kept):
        left = {k: v + 1 for k, v in arrays.items() if k not in kept}
        safetensors.numpy.save_file(left, path)
        weight_file.load_weights(model, path)

    load("scaled/scale")
    found = weight_file.variables(model)
    np.testing.assert_array_equal(found["scaled/scale"], arrays["scaled/scale"])
    for name in ("scaled/kernel", "dense/kernel_rho", "dense/kernel"):
        np.testing.assert_allclose(found[name], arrays[name] + 1)
    load("scaled/scale", "dense/kernel_rho")
    with pytest.raises(ValueError, match="lacks 'scaled/kernel'"):
        load("scaled/kernel")
