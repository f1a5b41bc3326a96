"""What draws is drawn from, whoever wrote it; what is in inference mode stays there."""

import keras
import numpy as np
import pytest
from keras import ops

import layers
from tests.helpers import marks
from tests.helpers.checks import assert_mean_close
from zoo.posterior import MonteCarlo

X = np.random.default_rng(0).uniform(1, 2, size=(4, 6, 6, 2)).astype("float32")
KERNEL = np.random.default_rng(1).normal(size=(2, 3)).astype("float32")


def model_of(middle, shape=(6, 6, 2)):
    """Pools what a function makes of the images, and multiplies with `KERNEL`."""
    images = keras.Input(shape)
    x = keras.layers.GlobalAveragePooling2D()(middle(images))
    head = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(images, head(x), name="theirs")
    head.kernel.assign(KERNEL)
    return model


def in_training(layer):
    return lambda x: layer(x, training=True)


def sequential(*inside):
    return keras.Sequential([keras.Input((6, 6, 2)), *inside], name="body")


@keras.saving.register_keras_serializable(package="tests")
class AlwaysOn(keras.layers.Dropout):
    """MC dropout as many write it."""

    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


@keras.saving.register_keras_serializable(package="tests")
class Stateless(keras.layers.Layer):
    """Noise in training, drawn by TensorFlow's own generator."""

    def call(self, inputs, training=False):
        import tensorflow as tf

        noise = tf.random.normal(ops.shape(inputs), 1.0, 0.5)
        return inputs * noise if training else inputs


@keras.saving.register_keras_serializable(package="tests")
class ListsGenerators(keras.layers.Layer):
    """Noise of a generator that is no attribute of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generators = [keras.random.SeedGenerator(0)]

    def call(self, inputs):
        shape, seed = ops.shape(inputs), self.generators[0]
        return inputs * keras.random.normal(shape, 1.0, 0.5, seed=seed)


# The variance of a factor of one image, position and channel; whether channels share.
HALF = 1.0  # rate / (1 - rate)
DRAWING = {
    "dropout": (in_training(keras.layers.Dropout(0.5)), HALF, False),
    "spatial": (in_training(keras.layers.SpatialDropout2D(0.5)), HALF, True),
    "gaussian": (in_training(keras.layers.GaussianDropout(0.5)), HALF, False),
    "of ours": (in_training(layers.Dropout(0.5)), HALF, False),
    "nested": (in_training(sequential(keras.layers.Dropout(0.5))), HALF, False),
    "user's": (AlwaysOn(0.5), HALF, False),
    "generators in a list": (ListsGenerators(), 0.25, False),
    "switched on": (in_training(Stateless()), 0.25, False),
}


# What takes the path of another one.
ALIKE = "gaussian", "user's", "switched on"


@pytest.mark.parametrize("name", marks.few(DRAWING, ALIKE))
def test_samples_have_the_moments_of_the_noise(name):
    middle, factor, shared = DRAWING[name]
    model = model_of(middle)
    samples = ops.convert_to_numpy(MonteCarlo(model, 1500)(X, seed=0))
    mean = X.mean(axis=(1, 2)) @ KERNEL
    sums = (X.sum(axis=(1, 2)) ** 2 if shared else (X**2).sum(axis=(1, 2))) / 36**2
    assert_mean_close(samples, mean)
    assert_mean_close((samples - mean) ** 2, factor * sums @ KERNEL**2)


@pytest.mark.parametrize("name", DRAWING)
def test_a_model_that_draws_is_called_stochastic(name):
    model = model_of(DRAWING[name][0])
    assert not MonteCarlo(model, 2).repeats_itself
    assert layers.is_stochastic(model)


INACTIVE = {
    "dropout": keras.layers.Dropout(0.5),
    "noise": keras.layers.GaussianNoise(1.0),
    "normalization": keras.layers.BatchNormalization(),
    "normalization in training": in_training(keras.layers.BatchNormalization()),
    "off": lambda x: keras.layers.Dropout(0.5)(x, training=False),
    "nested": sequential(keras.layers.Dropout(0.5)),
    "augmentation": keras.layers.RandomFlip(),
}


@pytest.mark.parametrize("middle", INACTIVE.values(), ids=INACTIVE)
def test_layers_of_training_are_off_and_the_model_stays_as_it_is(middle):
    model = model_of(middle)
    before = [np.array(w) for w in model.get_weights()]
    posterior = MonteCarlo(model, 3)
    samples = ops.convert_to_numpy(posterior(X))
    assert posterior.repeats_itself
    assert not layers.is_stochastic(model)
    expected = ops.convert_to_numpy(model(X, training=False))
    np.testing.assert_allclose(samples, [expected] * 3, atol=1e-5)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_file_draws_as_the_model_that_was_saved(tmp_path):
    model_of(DRAWING["nested"][0]).save(tmp_path / "theirs.keras")
    loaded = keras.saving.load_model(tmp_path / "theirs.keras")
    samples = ops.convert_to_numpy(MonteCarlo(loaded, 4)(X))
    assert len(np.unique(samples, axis=0)) == 4


def test_statistics_stay_beside_dropout_that_a_nested_model_switches_on():
    body = sequential(keras.layers.BatchNormalization(), keras.layers.Dropout(0.5))
    model = model_of(in_training(body))
    before = [np.array(w) for w in body.layers[0].get_weights()]
    samples = ops.convert_to_numpy(MonteCarlo(model, 1500)(X, seed=0))
    scale = 1 / np.sqrt(1 + body.layers[0].epsilon)  # Moving variances are one.
    assert_mean_close(samples, scale * X.mean(axis=(1, 2)) @ KERNEL)
    for old, new in zip(before, body.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def several_outputs():
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Dropout(0.5, name="inner")(inputs, training=True)
    return keras.Model(inputs, [x, x], name="body")


class Block(keras.layers.Layer):
    """A layer of somebody else with batch normalization and dropout inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = keras.layers.BatchNormalization()
        self.drop = keras.layers.Dropout(0.5)

    def call(self, inputs, training=False):
        return self.drop(self.norm(inputs, training=training), training=training)


@pytest.mark.parametrize(
    "middle, message",
    [
        (lambda x: several_outputs()(x)[0], "layer 'inner' .* 'body' around it cannot"),
        (in_training(Block(name="block")), "'block' .* holds a batch normalization"),
    ],
)
def test_what_cannot_be_kept_on_is_refused_by_name(middle, message):
    model = model_of(middle)
    with pytest.raises(ValueError, match=message):
        MonteCarlo(model, 2)


def test_a_graph_with_masks_is_refused_if_a_layer_is_switched_on():
    inputs = keras.Input((4, 6))
    x = keras.layers.LSTM(3)(keras.layers.Masking()(inputs))
    x = keras.layers.Dropout(0.5, name="on")(x, training=True)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match="layer 'on' is called with `training=True`"):
        MonteCarlo(model, 2)


def test_draws_that_compiling_would_freeze_are_refused():
    rng = np.random.default_rng(0)
    noise = keras.layers.Lambda(lambda x: x * rng.normal(), name="numpy_noise")
    posterior = MonteCarlo(model_of(noise), 3)
    with pytest.raises(ValueError, match="by Python or NumPy.*draw: numpy_noise"):
        posterior(X)


def test_a_subclass_without_a_call_of_its_own_is_its_graph():
    class Named(keras.Model):
        pass

    inner = model_of(DRAWING["dropout"][0])
    model = Named(inner.input, inner.output)
    posterior = MonteCarlo(model, 2)
    assert not posterior.repeats_itself
    assert np.ptp(ops.convert_to_numpy(posterior(X)), axis=0).max() > 0
