"""Spatial smoothing: an ensemble of neighboring points of a feature map."""

import functools
import math
from collections.abc import Sequence

import keras
from keras import ops

from layers import compilation
from layers.blur import blur, blurred_size, check_taps, sums
from layers.checks import check_channels_last, check_choice, check_padding, is_number
from layers.normalization import BatchNormalization

# Bounded, non-negative "probabilities" of features x at temperature t.
PROBS = {
    "tanh": lambda x, t: ops.relu(t * ops.tanh(x / t)),
    "sigmoid": lambda x, t: ops.relu(4 * t * (ops.sigmoid(x / t) - 0.5)),
    "softmax": lambda x, t: t * ops.softmax(x, axis=-1),
    "relu6": lambda x, t: ops.clip(x, 0, 6),
    "scale": lambda x, t: ops.relu(x / t),
    "none": lambda x, t: x,
}


@functools.lru_cache(maxsize=64)
def _compiled(probs, temperature, taps, padding):
    """Returns the smoothing of features as one loop of XLA, and its gradient as one.

    Composed of operations, the two take a dozen passes over the features. XLA would
    make the gradient of a shifted map a map of its own, so it is written out here.
    """
    import tensorflow as tf

    @compilation.compiled_map
    def forward(x):
        return sums(PROBS[probs](x, temperature), taps, padding)

    @compilation.compiled
    def backward(x, gradient):
        with tf.GradientTape() as tape:
            tape.watch(x)
            bounded = PROBS[probs](ops.cast(x, "float32"), temperature)
        gradient = ops.cast(gradient, "float32")
        return tape.gradient(bounded, x, sums(gradient, taps, padding, transposed=True))

    @tf.custom_gradient
    def smooth(x):
        return forward(x), functools.partial(backward, x)

    return smooth


@keras.saving.register_keras_serializable(package="layers")
class SpatialSmoothing(keras.layers.Layer):
    """Averages each feature with its spatial neighbors.

    Neighboring points of a feature map are predictions for nearly the same input, so
    averaging them is an ensemble that costs one forward pass. The layer computes
    `blur(relu(t * tanh(x / t)))`: `tanh` bounds the features, so that no single point
    dominates the average. Place it before each layer that subsamples.

    Args:
        temperature: The bound `t` on the features.
        taps: The 1-D blur filter; `(1, 1)` is a 2x2 box blur.
        padding: `"same"` keeps the size; `"full"` is the published code, where height
            and width grow by `len(taps) - 1`. Padded zeros count in both.
        probs: What bounds the features: `"tanh"`; one of the published variants
            `"sigmoid"` (`relu(4t (sigmoid(x / t) - 1/2))`), `"softmax"` over the
            channels times `t`, `"relu6"` and `"scale"` (`relu(x / t)`); or `"none"`,
            which leaves the blur alone.
        batch_norm: Whether to normalize the features first.

    Input shape: `(batch, height, width, channels)`.

    Output shape: Same as the input with `padding="same"`, else
        `(batch, height + len(taps) - 1, width + len(taps) - 1, channels)`.

    Example:

    >>> features = keras.random.normal((8, 32, 32, 64))
    >>> SpatialSmoothing()(features).shape
    TensorShape([8, 32, 32, 64])

    Reference:
        [Blurs Behave Like Ensembles](https://arxiv.org/abs/2105.12639)
        (Park and Kim, 2022).
    """

    def __init__(
        self,
        temperature: float = 10.0,
        taps: Sequence[float] = (1, 1),
        padding: str = "same",
        probs: str = "tanh",
        batch_norm: bool = False,
        **kwargs,
    ):
        check_channels_last(kwargs)
        super().__init__(**kwargs)
        if not (is_number(temperature) and 0 < temperature < math.inf):
            raise ValueError(
                "`temperature` bounds the features and must be positive and finite. "
                f"Received: temperature={temperature}"
            )
        self.temperature = temperature
        self.taps = check_taps(taps)
        self.padding = check_padding(padding, ("same", "full"))
        self.probs = check_choice(probs, "probs", PROBS)
        self.batch_norm = batch_norm
        self.norm = None
        if batch_norm:
            self.norm = BatchNormalization(
                momentum=0.9, epsilon=1e-5, dtype=self.dtype_policy, name="norm"
            )

    def build(self, input_shape):
        if self.norm is not None:
            self.norm.build(input_shape)

    def call(self, inputs, training=None):
        x = inputs
        if self.norm is not None:
            x = self.norm(x, training=training)
        if compilation.pays(x.shape[1:]):
            return _compiled(self.probs, self.temperature, self.taps, self.padding)(x)
        return blur(PROBS[self.probs](x, self.temperature), self.taps, self.padding)

    def compute_output_shape(self, input_shape):
        batch, *size, channels = input_shape
        size = [blurred_size(n, len(self.taps), self.padding) for n in size]
        return (batch, *size, channels)

    def get_config(self):
        config = {
            "temperature": self.temperature,
            "taps": self.taps,
            "padding": self.padding,
            "probs": self.probs,
            "batch_norm": self.batch_norm,
        }
        return {**super().get_config(), **config}
