import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from layers import Conv2DFlipout, DenseFlipout, DepthwiseConv2DFlipout, stream
from layers.priors import gaussian_kl
from tests.helpers import marks
from tests.helpers.checks import assert_mean_close, check_layer
from tests.helpers.gaussian_layers import CASES, draw, normal, random_scales, twin

SLOW = ["groups", "depthwise", "strided", "sequence"]  # Other paths have the rest.


@pytest.fixture(scope="module", params=marks.few(CASES, SLOW))
def sampled(request):
    """The noise of a layer's outputs: its expected covariance, and samples."""
    kind, arguments, shape = CASES[request.param]
    layer = kind(**arguments, bias_initializer="ones", name="layer")
    x = normal(*shape)
    layer.build(shape)
    scale = random_scales(layer)

    @tf.function(autograph=False)
    def sample():
        def outputs(key):
            with stream(key):
                return layer(x)

        return tf.map_fn(outputs, tf.range(4000), fn_output_signature="float32")

    noise = np.asarray(sample()) - twin(layer, layer.kernel, x) - 1
    basis = np.eye(scale.size, dtype="float32").reshape(-1, *scale.shape)
    slopes = np.stack([twin(layer, scale * unit, x) for unit in basis], -1)
    slopes = slopes.reshape(len(x), -1, scale.size)
    return slopes @ slopes.transpose(0, 2, 1), noise.reshape(4000, len(x), -1)


def test_outputs_have_the_moments_of_the_weight_posterior(sampled):
    covariance, noise = sampled
    assert_mean_close(noise, 0.0)
    assert_mean_close(noise[..., :, None] * noise[..., None, :], covariance)


def test_perturbations_of_different_examples_are_uncorrelated(sampled):
    _, noise = sampled
    for lag in (1, 2):
        products = noise[:, lag:, :, None] * noise[:, :-lag, None, :]
        assert_mean_close(products, 0.0)


def test_perturbations_of_different_calls_are_uncorrelated(sampled):
    _, noise = sampled
    assert_mean_close(noise[1:] * noise[:-1], 0.0)


@pytest.mark.parametrize(
    "kind, arguments, size",
    [(DenseFlipout, {"units": 5}, ()), (Conv2DFlipout, CASES["conv"][1], (3, 3))],
)
def test_examples_share_one_noise_up_to_signs_of_inputs_and_outputs(
    kind, arguments, size
):
    layer = kind(**arguments, use_bias=False, name="layer")
    layer.build((None, *size, 4))
    scale = random_scales(layer)
    # The outputs for unit inputs are the kernel of each example.
    units = np.eye(scale[..., 0].size, dtype="float32").reshape(-1, *size, 4)
    images = [np.repeat(unit[None], 6, axis=0) for unit in units]
    kernels = np.stack([draw(layer, image) for image in images], 1)
    noise = kernels.reshape(6, *scale.shape) - np.asarray(layer.kernel)
    signs = noise[1:] / noise[:1]
    np.testing.assert_allclose(np.abs(signs), 1, atol=2e-3)
    signs = np.sign(signs).reshape(5, -1, *scale.shape[-2:])
    assert np.all(signs == signs[:, :1])  # Over space.
    signs = signs[:, 0]
    np.testing.assert_array_equal(
        signs * signs[:, :1, :1], signs[:, :1] * signs[:, :, :1]
    )
    assert len(np.unique(signs, axis=0)) == 5
    assert not np.all(signs[:, :1] == signs)
    assert not np.all(signs[:, :, :1] == signs)


def test_noise_of_a_convolution_moves_with_its_input():
    layer = Conv2DFlipout(3, 3, initial_scale=1.0, name="layer")
    x = normal(2, 9, 9, 2)
    y, moved = draw(layer, x), draw(layer, np.roll(x, (2, 1), (1, 2)))
    np.testing.assert_allclose(moved[:, 2:, 1:], y[:, :-2, :-1], rtol=1e-4, atol=1e-4)


LINEAR = [
    (DenseFlipout, {"units": 3}, (4, 6)),
    (DenseFlipout, {"units": 3, "use_bias": False}, (2, 3, 4, 6)),
    *[
        (
            Conv2DFlipout,
            {"filters": 3, "kernel_size": size, "strides": strides, "padding": padding},
            (2, 8, 9, 2),
        )
        for size in (1, 3, (4, 2))
        for strides in (1, 2, (1, 3))
        for padding in ("valid", "same")
    ],
    *[
        (
            DepthwiseConv2DFlipout,
            {"kernel_size": (4, 2), "strides": strides, "depth_multiplier": 2},
            (2, 8, 9, 2),
        )
        for strides in (1, 2)
    ],
    (Conv2DFlipout, {"filters": 3, "kernel_size": 3, "dilation_rate": 2}, (2, 8, 9, 2)),
]


@pytest.mark.parametrize("base", ["Dense", "Conv2D", "DepthwiseConv2D"])
def test_layers_differ_in_how_they_draw_in_training(base):
    """They have one posterior, and in prediction draw as in training by default."""
    first = {"Dense": {"units": 3}, "Conv2D": {"filters": 3, "kernel_size": 2}}
    arguments, x = first.get(base, {"kernel_size": 2}), normal(3, 4, 4, 2)
    names = {
        "Flipout": "flipout",
        "Reparameterization": "weight_sampling",
        "LocalReparameterization": "local_reparameterization",
    }
    for ending, estimator in names.items():
        kind = getattr(layers, base + ending)
        layer = kind(**arguments, initial_scale=0.5, name="layer")
        other = getattr(layers, f"{base}Flipout")(
            **arguments, estimator=estimator, name="layer"
        )
        layer(x), other(x)
        other.set_weights(layer.get_weights())
        with stream(3):
            expected = other(x)
        for training in (False, True):
            with stream(3):
                np.testing.assert_array_equal(layer(x, training=training), expected)


def test_an_activation_is_of_the_outputs():
    layer = DenseFlipout(5, activation="relu", name="layer")
    plain = DenseFlipout(5, name="layer")
    layer.build((None, 4)), plain.build((None, 4))
    plain.set_weights(layer.get_weights())
    x = normal(6, 4)
    np.testing.assert_array_equal(draw(layer, x), np.maximum(draw(plain, x), 0))


@pytest.mark.parametrize("kind, arguments, shape", LINEAR)
def test_is_the_layer_of_keras_without_noise(kind, arguments, shape):
    layer = kind(**arguments, initial_scale=1e-12, bias_initializer="ones")
    x = normal(*shape)
    y = layer(x)
    expected = twin(layer, layer.kernel, x) + layer.use_bias
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loc, scale", [(0.0, 1.0), (0.7, 0.2), (-2.0, 3.0)])
def test_kl_matches_a_monte_carlo_estimate(loc, scale):
    rng = np.random.default_rng(0)
    w = rng.normal(loc, scale, size=200_000)
    log_q = -0.5 * ((w - loc) / scale) ** 2 - np.log(scale)
    log_p = -0.5 * (w / 1.5) ** 2 - np.log(1.5)
    exact = gaussian_kl(np.float32(loc), np.float32(scale), 1.5)
    assert_mean_close(log_q - log_p, exact)


@pytest.mark.parametrize("kind, arguments, shape", CASES.values(), ids=CASES)
def test_gradients_are_those_of_the_reparameterized_output(kind, arguments, shape):
    layer = kind(**arguments, initial_scale=0.5, prior_scale=2.0, name="layer")
    x = tf.constant(normal(*shape))
    layer.build(shape)
    with tf.GradientTape(persistent=True) as tape:
        with stream(7):
            y = tf.reduce_sum(layer(x))
        (kl,) = layer.losses
    mean = np.sum(twin(layer, layer.kernel, x))
    kernel, rho = tape.gradient(y, [layer.kernel.value, layer.kernel_rho.value])
    # Outputs are linear in the kernel, and their noise in the standard deviations.
    np.testing.assert_allclose(
        np.sum(kernel * layer.kernel), mean, rtol=1e-3, atol=1e-3
    )
    slope = 1 - np.exp(-0.5)  # Of softplus where it is 0.5.
    np.testing.assert_allclose(
        np.sum(rho) * 0.5 / slope, y - mean, rtol=1e-3, atol=1e-3
    )
    kernel, rho = tape.gradient(kl, [layer.kernel.value, layer.kernel_rho.value])
    np.testing.assert_allclose(kernel, layer.kernel / 2.0**2, rtol=1e-4)
    np.testing.assert_allclose(rho, slope * (0.5 / 2.0**2 - 1 / 0.5), rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 100.0])
def test_starts_at_the_initial_scale(scale):
    layer = DenseFlipout(3, initial_scale=scale)
    layer.build((None, 4))
    np.testing.assert_allclose(tf.nn.softplus(layer.kernel_rho), scale, rtol=1e-4)


@pytest.mark.parametrize("use_bias", [False, True])
def test_names_its_weights_for_those_of_a_deterministic_layer(use_bias):
    layer = Conv2DFlipout(8, (3, 2), use_bias=use_bias)
    layer.build((None, 5, 5, 4))
    shapes = {weight.name: tuple(weight.shape) for weight in layer.trainable_weights}
    expected = {"kernel": (3, 2, 4, 8), "kernel_rho": (3, 2, 4, 8), "bias": (8,)}
    assert shapes == {k: v for k, v in expected.items() if use_bias or k != "bias"}


CONTRACT = [
    (DenseFlipout(4), (2, 8)),
    (DenseFlipout(4, False, "he_normal", prior_scale=0.5, seed=1), (2, 3, 8)),
    (Conv2DFlipout(4, 3), (2, 8, 8, 3)),
    (Conv2DFlipout(4, (3, 2), (2, 1), "same", initial_scale=0.1), (2, 7, 10, 3)),
    (Conv2DFlipout(2, 3, 2, "same", False, "he_normal", "ones"), (2, 8, 9, 3)),
    (Conv2DFlipout(4, 3, groups=2), (2, 8, 8, 6)),
    (DepthwiseConv2DFlipout(3, 2, "same", 2, activation="relu"), (2, 7, 8, 3)),
    (
        layers.DenseLocalReparameterization(3, prior=layers.ScaleMixturePrior(0.25)),
        (2, 8),
    ),
    (layers.Conv2DReparameterization(2, 3, dilation_rate=2), (2, 8, 9, 3)),
]


@pytest.mark.parametrize(
    "layer, shape", marks.few(CONTRACT, [*CONTRACT[:6], *CONTRACT[-2:]])
)
def test_keeps_the_contract(layer, shape):
    check_layer(layer, shape)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"filters": 0}, "`filters` must be.*filters=0"),
        ({"kernel_size": (1, 2, 3)}, r"`kernel_size` must be.*=\(1, 2, 3\)"),
        ({"kernel_size": 0}, "`kernel_size` must be.*kernel_size=0"),
        ({"strides": 1.5}, "`strides` must be.*strides=1.5"),
        ({"groups": 0}, "`groups` must be a positive.*groups=0"),
        ({"padding": "full"}, "must be one of valid, same.*padding=full"),
        ({"prior_scale": 0}, "must be positive.*prior_scale=0"),
        ({"strides": 2, "dilation_rate": 2}, "both be larger.*dilation_rate=2"),
        ({"prior": 1.0}, "`prior` must be a `layers.Prior`.*prior=1.0"),
        ({"initial_scale": -1}, "must be positive.*initial_scale=-1"),
        ({"data_format": "channels_last"}, "channels last.*data_format=channels_last"),
    ],
)
def test_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conv2DFlipout(**{"filters": 2, "kernel_size": 3, **arguments})


def test_rejects_strides_that_tensorflow_has_not():
    with pytest.raises(ValueError, match=r"must be equal.*strides=\(1, 2\)"):
        DepthwiseConv2DFlipout(3, strides=(1, 2))


def test_rejects_channels_that_cannot_be_put_into_groups():
    with pytest.raises(
        ValueError, match="must divide.*groups=3, channels=3, filters=4"
    ):
        Conv2DFlipout(4, 3, groups=3).build((None, 5, 5, 3))


def test_rejects_inputs_of_another_number_of_channels():
    layer = DenseFlipout(3)
    layer.build((None, 4))
    with pytest.raises(ValueError, match="axis -1 .* to have value 4"):
        layer(normal(2, 5))


def test_rejects_channels_first_as_the_setting_of_keras():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="channels last.*=channels_first"):
            Conv2DFlipout(2, 3)
    finally:
        keras.config.set_image_data_format("channels_last")
