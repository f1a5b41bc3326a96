import json
import struct

import keras
import numpy as np
import pytest
import safetensors.numpy
from keras import ops

import layers
import zoo
from zoo import files, weights

SHAPE = (16, 16, 3)


def small_model(name="resnet20", num_classes=4, input_shape=SHAPE):
    return zoo.build(name, input_shape, num_classes)


def random_weights(model):
    rng = np.random.default_rng(0)
    for variable in weights.variables(model).values():
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))


def contents(model):
    found = weights.variables(model)
    return {name: ops.convert_to_numpy(value) for name, value in found.items()}


def assert_equal_weights(model, other, rtol=0):
    first, second = contents(model), contents(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=rtol, err_msg=name)


@pytest.fixture(scope="module")
def model():
    model = small_model()
    random_weights(model)
    return model


@pytest.fixture
def path(model, tmp_path):
    weights.save_weights(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def rewrite(path, change):
    """Changes the arrays of a weights file."""
    arrays = safetensors.numpy.load_file(path)
    change(arrays)
    safetensors.numpy.save_file(arrays, path)


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
    weights.save_weights(stochastic, tmp_path / "file")
    names = safetensors.numpy.load_file(tmp_path / "file")
    assert "head/kernel_rho" in names
    assert not any("random_state" in name for name in names)


def test_loading_gives_the_same_function(model, path):
    other = small_model()
    weights.load_weights(other, path, files.sha256(path))
    assert_equal_weights(model, other)
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype("uint8")
    expected = model(images, training=False)
    np.testing.assert_array_equal(other(images, training=False), expected)


def test_two_saves_of_a_model_are_the_same_bytes(model, path, tmp_path):
    weights.save_weights(model, tmp_path / "again", {"b": 1, "a": [2]})
    weights.save_weights(model, tmp_path / "other", {"a": [2], "b": 1})
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
    weights.save_weights(first, tmp_path / "file")
    weights.load_weights(second, tmp_path / "file")
    for name in "abc":
        expected, found = first.get_layer(name), second.get_layer(name)
        np.testing.assert_array_equal(found.kernel, expected.kernel)
        np.testing.assert_array_equal(found.bias, expected.bias)


def test_layers_of_one_name_are_an_error(tmp_path):
    inner = chain(["a"])
    x = inputs = keras.Input((4,))
    outer = keras.Model(inputs, keras.layers.Dense(4, name="a")(inner(x)))
    with pytest.raises(ValueError, match="Two weights .* are called 'a/kernel'"):
        weights.save_weights(outer, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_names_do_not_depend_on_where_a_model_was_built(model):
    with keras.name_scope("scope"):
        scoped = small_model()
    nested = keras.Sequential([scoped])
    assert weights.variables(scoped).keys() == weights.variables(model).keys()
    assert weights.variables(nested).keys() == weights.variables(model).keys()


def test_names_of_layers_inside_layers_keep_the_inner_name():
    inputs = keras.Input((8, 8, 3))
    layer = layers.SpatialSmoothing(batch_norm=True, name="stage1_smooth")
    names = weights.variables(keras.Model(inputs, layer(inputs)))
    assert "stage1_smooth/norm/gamma" in names


def test_half_precision_files_load_into_full_precision(model, tmp_path):
    weights.save_weights(model, tmp_path / "full")
    weights.save_weights(model, tmp_path / "half", dtype="float16")
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "full").stat().st_size
    other = small_model()
    weights.load_weights(other, tmp_path / "half")
    assert {v.dtype for v in other.trainable_variables} == {"float32"}
    assert_equal_weights(model, other, rtol=2**-11)


@pytest.mark.parametrize("value, dtype", [(np.nan, None), (1e6, "float16")])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value, dtype):
    broken = chain(["a", "b"])
    broken.get_layer("b").bias.assign([0, 0, value, 0])
    with pytest.raises(ValueError, match="'b/bias' .* not finite"):
        weights.save_weights(broken, tmp_path / "file", dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_metadata_says_what_the_model_is(tmp_path):
    normalization = ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    model = zoo.build("resnet20_mcdo", SHAPE, 4, normalization)
    weights.save_weights(model, tmp_path / "file", {"seed": 7})
    assert weights.read_metadata(tmp_path / "file") == {
        "name": "resnet20_mcdo",
        "input_shape": [16, 16, 3],
        "num_classes": 4,
        "mean": [1, 2, 3],
        "variance": [4, 5, 6],
        "seed": 7,
    }


def test_a_file_of_another_program_has_no_metadata(tmp_path):
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "file")
    assert weights.read_metadata(tmp_path / "file") == {}


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_older_file(model, path, monkeypatch, error):
    before = path.read_bytes()

    def fail(arrays, file, metadata):
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(type(error)):
        weights.save_weights(model, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_weights_of_the_plain_network_load_into_its_stochastic_sibling(model, path):
    sibling = small_model("resnet20_smooth_mcdo_flipout_blurpool")
    rho = ops.convert_to_numpy(sibling.get_layer("head").kernel_rho)
    weights.load_weights(sibling, path)
    expected, found = contents(model), contents(sibling)
    for name, value in expected.items():
        np.testing.assert_array_equal(found.pop(name), value)
    assert found
    assert all(name.endswith("/kernel_rho") for name in found)
    np.testing.assert_array_equal(sibling.get_layer("head").kernel_rho, rho)


def test_a_file_with_some_spreads_must_have_them_all(tmp_path):
    sibling = small_model("resnet20_flipout")
    path = tmp_path / "file"
    weights.save_weights(sibling, path)
    rewrite(path, lambda arrays: arrays.pop("stage1_block1_2_conv/kernel_rho"))
    with pytest.raises(ValueError, match="lacks 'stage1_block1_2_conv/kernel_rho'"):
        weights.load_weights(sibling, path)


def test_weights_of_a_stochastic_network_do_not_load_into_the_plain_one(tmp_path):
    weights.save_weights(small_model("resnet20_flipout"), tmp_path / "file")
    with pytest.raises(ValueError, match="also holds .*kernel_rho' .* and 7 more"):
        weights.load_weights(small_model(), tmp_path / "file")


def test_the_head_may_be_left_out(model, path):
    other = small_model(num_classes=7)
    head = ops.convert_to_numpy(other.get_layer("head").kernel)
    weights.load_weights(other, path, skip=("head",))
    np.testing.assert_array_equal(other.get_layer("head").kernel, head)
    np.testing.assert_array_equal(
        other.get_layer("stem_conv").kernel, model.get_layer("stem_conv").kernel
    )


def test_a_layer_to_skip_must_exist(model, path):
    with pytest.raises(ValueError, match="no layer 'heed'.*skip"):
        weights.load_weights(model, path, skip=("heed",))


@pytest.mark.parametrize(
    "name, classes, shape, message",
    [
        ("resnet20", 5, SHAPE, r"'head/kernel' has shape \(64, 4\) in the file and \("),
        ("resnet20", 4, (16, 16, 1), r"'stem_conv/kernel' has shape \(3, 3, 3, 16\) "),
        ("resnet32", 4, SHAPE, r"lacks 'stage1_block4_1_conv/kernel' \(3, 3, 16, 16\)"),
        ("vgg11", 4, SHAPE, r"lacks .* and \d+ more; it also holds 'stage1_block1_1_"),
    ],
)
def test_a_file_of_another_model_changes_nothing(path, name, classes, shape, message):
    other = small_model(name, classes, shape)
    before = contents(other)
    message = rf"model.safetensors' .*'{name}': .*{message}"
    with pytest.raises(ValueError, match=message):
        weights.load_weights(other, path)
    for key, value in contents(other).items():
        np.testing.assert_array_equal(value, before[key])


def test_weights_of_other_types_are_refused(path):
    rewrite(path, lambda a: a.update({"head/bias": np.zeros(4, "int32")}))
    with pytest.raises(ValueError, match="'head/bias' is I32, not one of F16, F32"):
        weights.load_weights(small_model(), path)


def test_a_missing_file_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere'.*found nothing"):
        weights.load_weights(model, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="found a folder"):
        weights.load_weights(model, tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 8, 100, 0.5, -1])
def test_a_truncated_file_says_so(model, path, kept):
    content = path.read_bytes()
    kept = int(kept * len(content)) if isinstance(kept, float) else kept
    path.write_bytes(content[:kept])
    before = contents(model)
    with pytest.raises(ValueError, match=r"model.safetensors' .*truncated.*expected"):
        weights.load_weights(model, path)
    for key, value in contents(model).items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x80\x04pickle" * 9, b"{}"])
def test_a_file_of_another_format_says_so(model, tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="file' is not a safetensors file"):
        weights.load_weights(model, tmp_path / "file")


def test_a_damaged_header_says_so(model, tmp_path):
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(8)
    (tmp_path / "file").write_bytes(content)
    inputs = keras.Input((4,))
    layer = keras.layers.Rescaling(1.0)
    empty = keras.Model(inputs, layer(inputs))
    with pytest.raises(ValueError, match="file'"):
        weights.load_weights(empty, tmp_path / "file")


def test_one_altered_bit_is_found_by_the_sum(model, path):
    expected = files.sha256(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    other = small_model()
    before = contents(other)
    with pytest.raises(ValueError, match=f"altered: expected sha256 {expected}, found"):
        weights.load_weights(other, path, expected)
    for key, value in contents(other).items():
        np.testing.assert_array_equal(value, before[key])
