import sys

import numpy as np
import pytest

import layers
import zoo
from tests.helpers.exports import calls, dropout_model, invoke, operators, softmax, tiny
from tests.helpers.litert_files import (
    DIFFERENCES,
    FORMATS,
    NOISE,
    each_format,
    export_as,
    run,
)
from training import data, export, metrics
from training.export import flatbuffer, litert, parity


@pytest.fixture(scope="module")
def test_set():
    return data.load("fashion_mnist", "test")


@pytest.fixture(scope="module")
def packaged(tmp_path_factory, test_set):
    """The packaged model with smoothing in every format, and what Keras predicts."""
    folder = tmp_path_factory.mktemp("packaged")
    model = zoo.load("resnet20_smooth.fashion_mnist")
    for label in FORMATS:
        export_as(label, model, folder / label, images=test_set.images[-60:])
    logits = model.predict(test_set.images[:300], verbose=0)
    return folder, softmax(logits)


@each_format
def test_real_images_have_the_probabilities_of_keras(packaged, test_set, label):
    folder, expected = packaged
    probs = run(folder / label, test_set.images[:300], label)
    difference, (largest, mean) = np.abs(probs - expected), DIFFERENCES[label]
    assert np.max(difference) < largest
    assert np.mean(difference) < mean
    labels = test_set.labels[:300]
    loss = metrics.accuracy(expected, labels) - metrics.accuracy(probs, labels)
    assert loss < 0.01
    # An 8-bit softmax would have zeros, hence an infinite NLL.
    assert abs(metrics.nll(probs, labels) - metrics.nll(expected, labels)) < 0.01
    assert np.min(probs) > 0


def test_files_are_as_small_as_their_weights(packaged):
    sizes = {label: (packaged[0] / label).stat().st_size for label in FORMATS}
    share = {label: size / sizes["float32"] for label, size in sizes.items()}
    assert share["float16"] < 0.52
    assert share["dynamic"] < 0.27
    assert share["int8"] < 0.27


@each_format
def test_normalizations_are_folded_into_the_convolutions(packaged, label):
    path = packaged[0] / label
    count = calls(path)
    assert operators(path)[1] == []
    # One for each layer, and the smoothing multiplies and divides by its temperature.
    assert (count["CONV_2D"], count["ADD"], count["MUL"]) == (19, 9, 6)
    assert count["RELU"] == 0
    # Smoothing, which is a padded pooling where kernels would be quantized anew.
    assert count["DEPTHWISE_CONV_2D"] == (0 if label == "dynamic" else 3)
    assert count["AVERAGE_POOL_2D"] + count["DEPTHWISE_CONV_2D"] == 5


def test_eight_bits_hold_everything_but_means_and_probabilities(packaged):
    path = packaged[0] / "int8"
    graph = flatbuffer.flatbuffer_utils.read_model(str(path)).subgraphs[0]
    kinds = [tensor.type for tensor in graph.tensors]
    schema = flatbuffer.flatbuffer_utils.schema_fb.TensorType
    # Pixels, their mean over the image, and the probabilities.
    assert kinds.count(schema.FLOAT32) <= 5
    assert kinds.count(schema.INT8) > 50


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_bytes_and_floats_of_the_same_pixels_are_the_same(quantization, tmp_path):
    calibration = NOISE if quantization else None
    outputs = []
    for dtype in litert.DTYPES:
        options = {"calibration": calibration, "input_dtype": dtype}
        export.export_tflite(tiny(), tmp_path / dtype, 1, quantization, **options)
        outputs.append(invoke(tmp_path / dtype, images=NOISE[:9].astype(dtype)))
    np.testing.assert_array_equal(*outputs)


def test_dark_calibration_images_do_not_change_what_a_byte_means(tmp_path):
    model = tiny()
    export_as("int8", model, tmp_path / "lite", images=NOISE // 2)
    images = NOISE[:20] // 2
    expected = softmax(model(images.astype("float32")))
    np.testing.assert_allclose(
        run(tmp_path / "lite", images, "int8"), expected, atol=0.02
    )


@pytest.mark.parametrize("label", ["weight_only", "int4", "weight_only_int4"])
def test_weights_of_few_bits_keep_the_draws(label, tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    model, seed = tiny(layers.MCDropout(0.5, name="dropout")), np.array(3, "int32")
    export.export_tflite(model, tmp_path / "whole", 2)
    report = export.export_tflite(model, tmp_path / "it", 2, quantization=label)
    sizes = [(tmp_path / name).stat().st_size for name in ("it", "whole")]
    assert report["bytes"] == sizes[0]
    images = NOISE[:5]
    whole, found, again, other = (
        invoke(tmp_path / name, images=images.astype("float32"), seed=number)
        for name, number in (
            ("whole", seed),
            ("it", seed),
            ("it", seed),
            ("it", seed + 1),
        )
    )
    np.testing.assert_array_equal(found, again)
    assert np.abs(found - other).mean() > 1e-3
    if label == "weight_only":  # Another seed is further away than fewer bits are.
        assert np.abs(found - whole).mean() < 0.1 * np.abs(found - other).mean()


def test_the_line_that_installs_the_quantizer_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(ImportError, match=r"pip install smoothzoo\[quantizer\]"):
        export.export_tflite(tiny(), tmp_path / "it", quantization="int4")
    assert list(tmp_path.iterdir()) == []


def test_compact_files_differ_in_names_alone(tmp_path):
    path, contents = tmp_path / "lite", []
    compact = flatbuffer.compact
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flatbuffer, "compact", lambda c: contents.append(c) or compact(c))
        export_as("int8", dropout_model(), path, 2)
    (original,), small = contents, path.read_bytes()
    assert len(small) < 0.75 * len(original)
    (tmp_path / "original").write_bytes(original)
    images, seed = NOISE[:5], np.array(3, "int32")
    np.testing.assert_array_equal(
        run(path, images, "int8", seed=seed),
        run(tmp_path / "original", images, "int8", seed=seed),
    )
    check_buffers(original, small)
    # Tools find tensors by their names.
    names = [
        tensor.name
        for graph in flatbuffer.flatbuffer_utils.read_model(str(path)).subgraphs
        for tensor in graph.tensors
    ]
    assert len(set(names)) == len(names) > 50
    assert all(names)


def check_buffers(original, small):
    """Checks that weights are the same, and aligned as the runtime wants them."""
    schema = flatbuffer.flatbuffer_utils.schema_fb
    models = [schema.Model.GetRootAs(content) for content in (original, small)]
    before, after = models
    assert before.BuffersLength() == after.BuffersLength()
    checked = 0
    for number in range(after.BuffersLength()):
        old, new = before.Buffers(number), after.Buffers(number)
        if new.DataLength():
            table = new._tab
            start = table.Vector(table.Offset(4))
            assert start % 16 == 0
            np.testing.assert_array_equal(old.DataAsNumpy(), new.DataAsNumpy())
            checked += 1
    assert checked > 10


def test_parity_of_eight_bits_is_checked_on_calibration_images(tmp_path):
    report = export_as("int8", tiny(), tmp_path / "lite")
    assert report["batch_sizes"] == (1, 8)
    assert report["tolerance"] == parity.TOLERANCES["int8"]
    assert 0 < report["max_difference"] < 0.05
