"""Small networks of the tests."""

import keras
import numpy as np

import layers

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, size=(7, 8, 8, 1)).astype("uint8")


def network(*random_layers, seed=0, name="network", **kwargs):
    """A small network with batch normalization; weights equal on every backend."""
    images = keras.Input((8, 8, 1), name="images")
    x = keras.layers.Rescaling(1 / 128, -1)(images)
    x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x)
    for layer in random_layers:
        x = layer(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(3)(x), name=name)
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if len(variable.shape) > 1:
            variable.assign(rng.normal(size=variable.shape))
        elif variable.dtype == "float32":  # Moving statistics and scales too.
            variable.assign(rng.uniform(0.2, 1, variable.shape))
    return model


def mc_network(**kwargs):
    elementwise = layers.MCDropout(0.3, name="elementwise")
    channelwise = layers.MCDropout(0.3, channelwise=True, name="channelwise")
    return network(elementwise, channelwise, **kwargs)


def masks_only():
    """A model whose logits are its input under the mask, with no rounding."""
    inputs = keras.Input((64,))
    return keras.Model(inputs, layers.MCDropout(0.3, name="mask")(inputs))


def gaussian(estimator="flipout"):
    """Two layers with Gaussian weights, of which the first sees no noise."""
    inputs = keras.Input((8, 8, 1))
    kwargs = {"initial_scale": 0.5, "estimator": estimator}
    x = layers.Conv2DFlipout(3, 3, name="conv", **kwargs)(inputs / 255.0)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    keras.utils.set_random_seed(0)
    return keras.Model(inputs, layers.DenseFlipout(3, name="dense", **kwargs)(x))


def as_numpy(x):
    return keras.ops.convert_to_numpy(x)


@keras.saving.register_keras_serializable(package="tests")
class UnknownNoise(keras.layers.Layer):
    """A random layer that is not of the zoo."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        return inputs + keras.random.normal(
            keras.ops.shape(inputs), seed=self.generator
        )


@keras.saving.register_keras_serializable(package="tests")
class MemberBias(layers.RandomLayer):
    """Adds the bias of a member to each channel."""

    by_row = True
    optional_weights = ("bias",)

    def __init__(self, num_members, **kwargs):
        super().__init__(**kwargs)
        self.num_members = num_members

    def build(self, shape):
        self.bias = self.add_weight((self.num_members, shape[-1]), name="bias")

    def call(self, x):
        member = self.row_members(self.num_members, keras.ops.shape(x)[0])
        return x + keras.ops.take(self.bias, member, axis=0)[:, None, None]

    def get_config(self):
        return {**super().get_config(), "num_members": self.num_members}
