import json
import struct

import keras
import numpy as np
import pytest
import safetensors.numpy

from tests.helpers.weight_files import SHAPE, contents, small_model
from zoo.presets import weight_file
from zoo.storage import files


def rewrite(path, change):
    """Changes the arrays of a weights file."""
    arrays = safetensors.numpy.load_file(path)
    change(arrays)
    safetensors.numpy.save_file(arrays, path)


def test_a_file_with_some_spreads_must_have_them_all(tmp_path):
    sibling = small_model("resnet20_flipout")
    path = tmp_path / "file"
    weight_file.save_weights(sibling, path)
    rewrite(path, lambda arrays: arrays.pop("stage1_block1_2_conv/kernel_rho"))
    with pytest.raises(ValueError, match="lacks 'stage1_block1_2_conv/kernel_rho'"):
        weight_file.load_weights(sibling, path)


def test_weights_of_a_stochastic_network_do_not_load_into_the_plain_one(tmp_path):
    weight_file.save_weights(small_model("resnet20_flipout"), tmp_path / "file")
    with pytest.raises(ValueError, match="also holds .*kernel_rho' .* and 7 more"):
        weight_file.load_weights(small_model(), tmp_path / "file")


def test_a_layer_to_skip_must_exist(model, path):
    with pytest.raises(ValueError, match="no layer 'heed'.*skip"):
        weight_file.load_weights(model, path, skip=("heed",))


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
        weight_file.load_weights(other, path)
    for key, value in contents(other).items():
        np.testing.assert_array_equal(value, before[key])


def test_weights_of_other_types_are_refused(path):
    rewrite(path, lambda a: a.update({"head/bias": np.zeros(4, "int32")}))
    with pytest.raises(ValueError, match="'head/bias' is I32, not one of F16, F32"):
        weight_file.load_weights(small_model(), path)


def test_a_missing_file_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere'.*found nothing"):
        weight_file.load_weights(model, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="found a folder"):
        weight_file.load_weights(model, tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 8, 100, 0.5, -1])
def test_a_truncated_file_says_so(model, path, kept):
    content = path.read_bytes()
    kept = int(kept * len(content)) if isinstance(kept, float) else kept
    path.write_bytes(content[:kept])
    before = contents(model)
    with pytest.raises(ValueError, match=r"model.safetensors' .*truncated.*expected"):
        weight_file.load_weights(model, path)
    for key, value in contents(model).items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x80\x04pickle" * 9, b"{}"])
def test_a_file_of_another_format_says_so(model, tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="file' is not a safetensors file"):
        weight_file.load_weights(model, tmp_path / "file")


def test_a_damaged_header_says_so(model, tmp_path):
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(8)
    (tmp_path / "file").write_bytes(content)
    inputs = keras.Input((4,))
    layer = keras.layers.Rescaling(1.0)
    empty = keras.Model(inputs, layer(inputs))
    with pytest.raises(ValueError, match="file'"):
        weight_file.load_weights(empty, tmp_path / "file")


def test_one_altered_bit_is_found_by_the_sum(model, path):
    expected = files.sha256(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    other = small_model()
    before = contents(other)
    with pytest.raises(ValueError, match=f"altered: expected sha256 {expected}, found"):
        weight_file.load_weights(other, path, expected)
    for key, value in contents(other).items():
        np.testing.assert_array_equal(value, before[key])
