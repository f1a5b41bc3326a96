"""Networks whose normalizations are in their convolutions, in float32 and bfloat16."""

import os
import sys

import keras
import numpy as np
import pytest
from keras import ops

import layers
import zoo
from tests.helpers import processes
from tests.helpers.networks import as_numpy
from zoo.folding import fold
from zoo.posterior import DeepEnsemble, MonteCarlo, Temperature

FAMILIES = [
    "resnet20_smooth_mcdo",
    "prevgg11",
    "alexnet_smooth",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "resnet20_flipout",
            *("resnet50d_aa", "resnet20_sngp", "resnet20_ddu", "vgg11_mlp_lldo"),
            *("preresnet20_smooth_mcdo", "vgg11_mcdo_blurpool"),
        )
    ),
]
BFLOAT16 = 2.0**-8  # Twice the rounding of one number.


def with_statistics(model, seed=0):
    """Gives normalizations statistics and scales, some of them negative."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(rng.normal(0, 0.3, shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, shape))
            if layer.gamma is not None:
                layer.gamma.assign(rng.uniform(-0.5, 1.5, shape))
            if layer.beta is not None:
                layer.beta.assign(rng.normal(0, 0.3, shape))
    return model


def images(shape, count=3):
    return np.random.default_rng(1).integers(0, 256, (count, *shape)).astype("uint8")


def normalizations(model):
    kind = keras.layers.BatchNormalization
    return [layer.name for layer in model.layers if isinstance(layer, kind)]


def logits(model, x):
    with layers.stream(3):
        return as_numpy(model(x, training=False))


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_predicts_the_same_with_the_same_draws(name):
    keras.utils.set_random_seed(0)
    model = with_statistics(zoo.build(name, (16, 16, 1), 4))
    x = images((16, 16, 1))
    expected = logits(model, x)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        logits(fold(model), x) / scale, expected / scale, atol=1e-5
    )
    # Masks of another draw would change them by as much as they are.
    half = fold(model, "bfloat16")
    assert half.layers[1].compute_dtype == half.layers[-1].compute_dtype == "float32"
    found = logits(half, x)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found / scale, expected / scale, atol=8 * BFLOAT16)


def test_the_normalizations_behind_random_kernels_alone_are_left():
    model = zoo.build("resnet20_flipout", (16, 16, 1), 4)
    assert len(normalizations(model)) == 19
    left = normalizations(fold(model))
    assert len(normalizations(model)) == 19
    assert left == [f"stage{s}_block{b}_2_norm" for s in (1, 2, 3) for b in (1, 2, 3)]


def kinds():
    """One network of each kind of layer that takes a normalization."""
    x = start = keras.Input((6, 6, 4))
    x = keras.layers.Conv2D(6, 3, name="a")(x)
    x = keras.layers.BatchNormalization(scale=False, epsilon=0.1)(x)
    x = keras.layers.DepthwiseConv2D(2, depth_multiplier=2, name="b")(x)
    x = layers.BatchNormalization(center=False)(x)
    x = keras.layers.Reshape((9, 12))(keras.layers.ReLU()(x))
    x = keras.layers.BatchNormalization()(keras.layers.Conv1D(5, 2, name="c")(x))
    x = keras.layers.Flatten()(x)
    x = keras.layers.BatchNormalization()(keras.layers.Dense(5, name="d")(x))
    return keras.Model(start, keras.layers.Dense(3)(x))


def test_scales_go_where_the_outputs_of_each_kind_of_layer_are():
    keras.utils.set_random_seed(1)
    model = with_statistics(kinds())
    for layer in (layer for layer in model.layers if hasattr(layer, "bias")):
        layer.bias.assign(np.random.default_rng(2).normal(size=layer.bias.shape))
    result = fold(model)
    assert not normalizations(result)
    x = np.random.default_rng(0).normal(size=(5, 6, 6, 4)).astype("float32")
    np.testing.assert_allclose(result(x), model(x), rtol=1e-4, atol=1e-5)


def uses_twice(x):
    """The convolution is seen without its normalization, too."""
    x = keras.layers.Conv2D(4, 1, name="conv")(x)
    return keras.layers.BatchNormalization(name="norm")(x) + x


def calls_conv_twice(x):
    conv = keras.layers.Conv2D(1, 1, name="conv")
    return keras.layers.BatchNormalization(name="norm")(conv(conv(x)))


def calls_norm_twice(x):
    norm = keras.layers.BatchNormalization(name="norm")
    x = norm(keras.layers.Conv2D(4, 1, name="conv")(x))
    return norm(keras.layers.Conv2D(4, 1)(x))


def activates_before(x):
    x = keras.layers.Conv2D(4, 1, activation="relu", name="conv")(x)
    return keras.layers.BatchNormalization(name="norm")(x)


def normalizes_rows(x):
    return keras.layers.BatchNormalization(1, name="norm")(keras.layers.Conv2D(4, 1)(x))


def is_an_output(x):
    return keras.layers.BatchNormalization(name="norm")(keras.layers.MaxPooling2D()(x))


@pytest.mark.parametrize(
    "graph",
    [
        *(uses_twice, calls_conv_twice, calls_norm_twice),
        *(activates_before, normalizes_rows, is_an_output),
    ],
)
def test_a_normalization_that_cannot_be_folded_stays(graph):
    x = start = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(graph(x))
    model = with_statistics(keras.Model(start, keras.layers.Dense(3)(x)))
    result = fold(model)
    assert normalizations(result) == ["norm"]
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype("float32")
    np.testing.assert_allclose(result(x), model(x), rtol=1e-5, atol=1e-5)


def test_models_inside_and_layers_in_training_mode_are_kept():
    inner = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(4, 3, name="conv"),
            keras.layers.ReLU(),
        ]
    )
    norm = keras.layers.BatchNormalization(name="norm")
    head = keras.Sequential([keras.Input((2, 2, 4)), norm])
    x = start = keras.Input((4, 4, 1))
    x = keras.layers.Dropout(0.5, name="drop")(head(inner(x)), training=True)
    model = keras.Model(start, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    result = fold(model)
    assert normalizations(result) == ["norm"]
    assert layers.is_stochastic(result)
    assert [layer for layer in result.layers if isinstance(layer, keras.Model)] == []


def test_a_border_inside_of_a_model_does_not_part_a_convolution_from_its_norm():
    inner = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Conv2D(4, 3, name="conv")]
    )
    x = start = keras.Input((4, 4, 1))
    x = keras.layers.BatchNormalization()(inner(x))
    model = keras.Model(start, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    model = with_statistics(model)
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype("float32")
    result = fold(model)
    assert not normalizations(result)
    np.testing.assert_allclose(result(x), model(x), rtol=1e-5, atol=1e-5)


def test_mirrored_borders_of_maxima_are_replaced_where_they_do_not_matter():
    for width, is_replaced in ((1, True), (2, False)):
        # Windows of two points see nothing but mirrored ones in a border of two.
        x = start = keras.Input((4, 4, 1))
        border = (width, width)
        x = keras.layers.Conv2D(2, 1)(x)
        x = ops.pad(x, ((0, 0), border, border, (0, 0)), "symmetric")
        x = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(x))
        model = keras.Model(start, keras.layers.Dense(3)(x))
        x = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype("float32")
        result = fold(model)
        np.testing.assert_allclose(result(x), model(x), rtol=1e-5, atol=1e-5)
        modes = {getattr(operation, "mode", None) for operation in result.operations}
        assert ("constant" in modes) == is_replaced


def test_normalizations_that_learned_their_scale_keep_it():
    norm = keras.layers.Normalization()
    x = np.random.default_rng(0).normal(5, 3, size=(40, 4, 4, 1)).astype("float32")
    norm.adapt(x)
    rest = [
        keras.layers.Conv2D(4, 3),
        keras.layers.Conv2D(4, 1),
        keras.layers.Flatten(),
    ]
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), norm, *rest, keras.layers.Dense(3)]
    )
    np.testing.assert_allclose(fold(model)(x), model(x), rtol=1e-5, atol=1e-5)
    assert fold(model, "bfloat16").layers[1].compute_dtype == "float32"


def test_models_without_a_graph_or_a_layer_for_it_are_errors():
    masks = [keras.layers.Masking(), keras.layers.Dense(4), keras.layers.Dense(3)]
    masked = keras.Sequential([keras.Input((4, 4)), *masks])
    with pytest.raises(ValueError, match="has masks"):
        fold(masked)
    small = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="no layers that could compute in bfloat16"):
        fold(small, "bfloat16")
    with pytest.raises(ValueError, match="precision=float8"):
        fold(small, "float8")


def small_network():
    x = start = keras.Input((6, 6, 1))
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
    x = layers.MCDropout(0.5, name="drop")(keras.layers.ReLU()(x))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
    return keras.Model(start, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


def test_posteriors_of_folded_networks_have_their_samples():
    models = [with_statistics(small_network(), seed) for seed in (0, 1)]
    passes = MonteCarlo(models[0], 4, estimator="flipout", memory=2**20)
    ensemble = DeepEnsemble([passes, models[1]])
    scaled = Temperature(ensemble, temperature=1.7)
    x = images((6, 6, 1))
    for posterior in (passes, ensemble, scaled):
        other = posterior.with_models(fold)
        assert type(other) is type(posterior)
        assert other.num_samples == posterior.num_samples
        assert other.name == posterior.name
        kinds = [type(layer) for layer in other._flatten_layers()]
        assert keras.layers.BatchNormalization not in kinds
        expected = as_numpy(posterior(x, seed=5))
        np.testing.assert_allclose(other(x, seed=5), expected, rtol=1e-4, atol=1e-4)
    assert passes.with_models(fold).memory == 2**20


@pytest.mark.slow
def test_folded_networks_predict_the_same_on_jax():
    script = """
import layers
import numpy as np
import zoo
from zoo.folding import fold

model = zoo.build("resnet20_smooth_mcdo", (16, 16, 1), 3)
x = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 1)).astype("uint8")
networks = model, fold(model), fold(model, "bfloat16")
found = []
for network in networks:
    with layers.stream(3):
        found.append(np.asarray(network(x)))
scale = np.abs(found[0]).max()
print(*(float(np.abs(other - found[0]).max() / scale) for other in found[1:]))
"""
    pytest.importorskip("jax")
    env = {**os.environ, "KERAS_BACKEND": "jax"}
    done = processes.run([sys.executable, "-c", script], check=True, env=env)
    errors = done.stdout.split()
    assert float(errors[0]) < 1e-5
    assert 0 < float(errors[1]) < 8 * BFLOAT16
