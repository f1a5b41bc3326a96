"""LiteRT files of networks that were trained to compute as integers do."""

import keras
import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema

import layers
from tests.helpers.exports import flatbuffer, invoke, softmax
from tests.helpers.networks import as_numpy
from training import export
from training.export import onnx, openvino
from zoo import quantization
from zoo.quantization import quantized

IMAGES = np.random.default_rng(1).integers(0, 256, (8, 16, 16, 1)).astype("float32")


def network(bits=8, *random_layers):
    """A network with ranges: a residual block, smoothing and a blur."""
    keras.utils.set_random_seed(0)
    x = images = keras.Input((16, 16, 1), name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="normalize")(x)
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(x)
    x = keras.layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    y = keras.layers.Conv2D(8, 3, padding="same", name="inner")(x)
    y = layers.BatchNormalization(name="inner_norm")(y)
    for layer in random_layers:
        y = layer(y)
    x = keras.layers.ReLU(name="end")(keras.layers.Add(name="add")([x, y]))
    x = layers.SpatialSmoothing(name="smooth")(x)
    x = layers.BlurPool2D(padding="same", name="blur")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(images, keras.layers.Dense(4, name="head")(x))
    rng = np.random.default_rng(0)
    for name in ("norm", "inner_norm"):
        norm = model.get_layer(name)
        norm.gamma.assign(rng.uniform(-1.5, 1.5, 8))
        norm.moving_mean.assign(rng.normal(size=8))
        norm.moving_variance.assign(rng.uniform(0.5, 2, 8))
    made = quantized(model, bits)
    for layer in made.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.frozen = True
    with layers.stream(0):
        made(IMAGES, training=True)
    return made


def tensors(path):
    """Scales, zero points and types of the tensors of a file that have some."""
    found = []
    for graph in flatbuffer(path.read_bytes()).subgraphs:
        for tensor in graph.tensors:
            own = tensor.quantization
            if own is not None and own.scale is not None and len(own.scale):
                found.append(
                    (np.array(own.scale), np.array(own.zeroPoint), tensor.type)
                )
    return found


def has(found, scale, zero):
    """Whether a tensor of 8 bits has a scale and a zero point."""
    return any(
        len(scales) == 1
        and kind == schema.TensorType.INT8
        and np.isclose(scales[0], scale, rtol=1e-4)
        and zeros[0] == zero
        for scales, zeros, kind in found
    )


def test_the_ranges_of_the_training_are_those_of_the_file(tmp_path):
    model, path = network(), tmp_path / "aware.tflite"
    report = export.export_tflite(model, path, quantization="int8")
    assert report["max_difference"] < 0.05
    found = tensors(path)
    ranges = {
        layer.name: layer
        for layer in [*model.layers, model.get_layer("smooth").range]
        if isinstance(layer, layers.FakeQuantization)
    }
    assert {*ranges} == {
        *("normalize_range", "relu_range", "inner_norm_range", "end_range", "range"),
        *("smooth_range", "blur_range", "pool_range", "head_range"),
    }
    for name, layer in ranges.items():
        low, high = float(layer.low), float(layer.high)
        scale = (high - low) / 255
        assert has(found, scale, np.rint(-low / scale) - 128), name
    # The tangent of the smoothing, and what is behind its rectifier.
    assert has(found, 1 / 128, 0)
    assert has(found, 10 / 255, -128)
    # Kernels have a scale for each channel: those of what is folded.
    settled = quantization.settled(model)
    for name in ("stem", "inner"):
        kernel = np.abs(as_numpy(settled.get_layer(name).kernel)).max(axis=(0, 1, 2))
        assert any(
            len(scales) == 8 and np.allclose(scales, kernel / 127, rtol=1e-3)
            for scales, _, kind in found
            if kind == schema.TensorType.INT8
        ), name
    # And what the file computes is what the network does.
    probs = invoke(path, images=IMAGES)
    expected = softmax(as_numpy(model(IMAGES, training=False)))
    assert np.abs(probs - expected).max() < 0.02
    assert len(np.unique(probs * 256 % 1)) > 4  # They are no integers.
    (graph,) = flatbuffer(path.read_bytes()).subgraphs
    kinds = [tensor.type for tensor in graph.tensors]
    # Pixels and their scale, the logits and what makes probabilities of them.
    assert kinds.count(schema.TensorType.FLOAT32) <= 16
    assert kinds.count(schema.TensorType.INT8) > 15


@pytest.mark.parametrize(
    "layer",
    [
        layers.SpatialSmoothing(),
        layers.SpatialSmoothing(probs="none", taps=(1, 2, 1)),
        layers.BlurPool2D(strides=1, padding="same"),
        layers.BlurPool2D((1, 1), strides=1),
        keras.layers.AveragePooling2D(2, 1, padding="same"),
    ],
)
def test_averages_are_of_features_beyond_their_range(layer, tmp_path):
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 1), name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="normalize")(images)
    x = keras.layers.Conv2D(6, 3, padding="same", name="stem")(x)
    x = layer(keras.layers.ReLU(name="relu")(x))
    x = keras.layers.Dense(3, name="head")(x)
    model, path = quantized(keras.Model(images, x)), tmp_path / "averages.tflite"
    model(IMAGES, training=True)  # Of noise averages are far from peaks.
    export.export_tflite(model, path, quantization="int8")
    probs = invoke(path, images=IMAGES)
    expected = softmax(as_numpy(model(IMAGES, training=False)))
    assert np.abs(probs - expected).max() < 0.025


@pytest.mark.slow
def test_dropout_draws_the_masks_of_keras(tmp_path):
    model = network(8, layers.MCDropout(0.4, name="drop"))
    path = tmp_path / "drop.tflite"
    report = export.export_tflite(model, path, num_samples=2, quantization="int8")
    assert report["max_difference"] < 0.1
    own = model.get_layer("drop").range
    scale = float(own.high - own.low) / 255
    assert has(tensors(path), scale, np.rint(-float(own.low) / scale) - 128)


@pytest.mark.slow
def test_weights_of_four_bits_have_their_scales(tmp_path):
    model, path = network(4), tmp_path / "four.tflite"
    export.export_tflite(model, path, quantization="int4")
    settled = quantization.settled(model)
    kernel = np.abs(as_numpy(settled.get_layer("inner").kernel)).max(axis=(0, 1, 2))
    assert any(
        len(scales) == 8 and np.allclose(scales, kernel / 7, rtol=1e-3)
        for scales, *_ in tensors(path)
    )
    probs = invoke(path, images=IMAGES)
    expected = softmax(as_numpy(model(IMAGES, training=False)))
    assert np.abs(probs - expected).max() < 0.02


def test_predictions_of_each_pixel_have_a_scale_for_each_class(tmp_path):
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 1), name="images")
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(images)
    x = keras.layers.Dense(3, name="head")(keras.layers.ReLU(name="relu")(x))
    model, path = quantized(keras.Model(images, x)), tmp_path / "pixels.tflite"
    head = model.get_layer("head")
    head.kernel.assign(as_numpy(head.kernel) * [1, 0.01, 0.1])
    model(IMAGES, training=True)
    export.export_tflite(model, path, quantization="int8")
    kernel = np.abs(as_numpy(head.kernel)).max(axis=0)
    assert any(
        len(scales) == 3 and np.allclose(scales, kernel / 127, rtol=1e-3)
        for scales, *_ in tensors(path)
    )
    expected = softmax(as_numpy(model(IMAGES, training=False)))
    assert np.abs(invoke(path, images=IMAGES) - expected).max() < 0.02


def test_other_forms_of_such_a_network_are_refused(tmp_path):
    model = network()
    for kind in (None, "int4", "dynamic"):
        with pytest.raises(ValueError, match="export it with `quantization=int8`"):
            export.export_tflite(model, tmp_path / "it", quantization=kind)
    with pytest.raises(ValueError, match="nothing to calibrate"):
        export.export_tflite(
            model, tmp_path / "it", quantization="int8", calibration=IMAGES
        )
    for write in (onnx.export_onnx, openvino.export_openvino):
        with pytest.raises(ValueError, match="a file of LiteRT holds: .*=int8"):
            write(model, tmp_path / "it")
    assert list(tmp_path.iterdir()) == []
