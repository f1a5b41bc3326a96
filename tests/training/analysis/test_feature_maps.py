"""Variances of feature maps against NumPy."""

import dataclasses

import keras
import numpy as np
import pytest

import layers
from tests.helpers import analyzed, scenes
from training import analysis
from training.analysis import feature_maps


def outputs(model, names):
    return keras.Model(model.input, [model.get_layer(n).output for n in names])


def test_variance_over_space_is_that_of_numpy():
    model, data = analyzed.residual(), analyzed.images(13)
    found = analysis.features(model, data, batch_size=5)
    names = "normalize", "stem_relu", "one_out", "smooth", "two_add"
    pixels = data.images[:10].astype("float32")  # Full batches alone.
    maps = map(keras.ops.convert_to_numpy, outputs(model, names)(pixels))
    wanted = [np.var(x, axis=(1, 2), ddof=1).mean(axis=1) for x in maps]
    assert [row["layer"] for row in found.rows] == list(names)
    values = found.arrays["spatial_variance"]
    np.testing.assert_allclose(values, np.transpose(wanted), rtol=1e-4)
    np.testing.assert_allclose(
        found.values("spatial_variance"), np.mean(wanted, axis=1), rtol=1e-4
    )
    error = np.std(wanted[1], ddof=1) / np.sqrt(10)
    np.testing.assert_allclose(found.rows[1]["standard_error"], error, rtol=1e-4)
    assert found.rows[3]["kinds"] == ["smoothing"]
    assert set(feature_maps.plot_features({"a": found})) == {
        "Variance of feature maps over space"
    }


def test_variance_over_passes_is_that_of_the_draws():
    model, data = analyzed.residual(rate=0.4), analyzed.images(6)
    found = analysis.features(model, data, batch_size=3, num_samples=4, seed=5)
    names = "stem_relu", "one_out", "smooth", "two_add"
    part, passes = outputs(model, names), []
    for number in range(4):
        key = layers.random.fold(5, number)
        with layers.stream(key, number=number):
            passes.append(part(data.images.astype("float32"), training=False))
    for index, of_layer in enumerate(zip(*passes, strict=True)):
        values = np.stack(of_layer)
        wanted = values.var(axis=0, ddof=1).mean(axis=(1, 2, 3))
        own = found.arrays["pass_variance"][:, 1 + index]
        np.testing.assert_allclose(own, wanted, rtol=1e-3, atol=1e-7)
        wanted = values.var(axis=(2, 3), ddof=1).mean(axis=(0, 2))
        own = found.arrays["spatial_variance"][:, 1 + index]
        np.testing.assert_allclose(own, wanted, rtol=1e-3)
    assert found.values("pass_variance", layer="stem_relu") == [0.0]
    assert found.values("pass_variance", layer="smooth")[0] > 0


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"batch_size": 13},
            "'noise' is smaller than a batch.*12 images, batch_size=13",
        ),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"num_samples": 1}, "takes two at least. Received: num_samples=1"),
        ({"num_samples": "many"}, "`num_samples` must be a positive integer"),
        ({"layers": "steem"}, "no layer 'steem'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    model, data = analyzed.residual(rate=0.4), analyzed.images()
    with pytest.raises(ValueError, match=message):
        analysis.features(model, data, **{"batch_size": 4, **settings})


@pytest.mark.parametrize(
    "data, message",
    [
        (
            analyzed.images(num_classes=2),
            "has 3 classes. Received: dataset=noise with 2",
        ),
    ],
)
def test_data_of_others_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        analysis.features(analyzed.residual(), data, batch_size=4)


def test_pixels_without_a_label_are_refused():
    model, data = scenes.network(), scenes.scenes(4)
    missing = (
        f"dataset=scenes, {np.sum(data.labels == -1)} of {data.labels.size} labels"
    )
    with pytest.raises(ValueError, match=missing):
        analysis.features(model, data, batch_size=4)
    whole = dataclasses.replace(data, labels=np.maximum(data.labels, 0))
    assert analysis.features(model, whole, batch_size=4).rows


def test_a_value_that_is_not_finite_is_named():
    model = analyzed.residual()
    model.get_layer("one_2").bias.assign([np.inf] * 4)
    with pytest.raises(FloatingPointError, match="variance of 'one_out' is not finite"):
        analysis.features(model, analyzed.images(), batch_size=4)
