"""A small network from images to images, which gives back those it is fitted to."""

import keras
import numpy as np
from keras import ops

CHANNELS = 32
SLOPE = 0.5  # Of the activation for negative values, so that no pixel is lost.
_IMAGES, _SIDE = 100, 32  # Of the fit, and of the middle of an image that it sees.
_RIDGE = 1e-4


class ImageToImage:
    """Three convolutions, of which the last one is fitted so that images come back.

    The kernels of the first two are drawn, and scaled such that their features have
    mean 0 and variance 1 over images; those of the last one are the least squares of
    the pixels. A *change* of the network scales and shifts the features behind each
    convolution, of each image in its own way: `features * (1 + scale) + shift`, which
    is a change of the kernel and the bias, the same for all weights of a channel.

    Args:
        num_channels: The number of channels of images.

    Attributes:
        variables: Kernels, biases, and mean and standard deviation of the pixels.
    """

    def __init__(self, num_channels: int):
        depths = num_channels, CHANNELS, CHANNELS, num_channels
        self._mean, self._deviation = (
            _variable((num_channels,), name) for name in ("mean", "deviation")
        )
        self._kernels = [
            _variable((3, 3, *depths[i : i + 2]), f"kernel{i}") for i in range(3)
        ]
        self._biases = [_variable((depth,), "bias") for depth in depths[1:]]
        moments = self._mean, self._deviation
        self.variables = (*moments, *self._kernels, *self._biases)
        # Scales and shifts of each layer.
        self._sizes = [2 * depth for depth in depths[1:]]

    @property
    def num_changes(self) -> int:
        """The length of a change."""
        return sum(self._sizes)

    def fit(self, images, seed: int = 0) -> float:
        """Draws the first layers and fits the last one, in NumPy.

        Args:
            images: Array of shape `(images, height, width, channels)`, or an object
                that gives such arrays when it is indexed by integers.
            seed: Seed of the draws.

        Returns:
            The mean over images of the peak signal-to-noise ratio, in decibels.
        """
        rng = np.random.default_rng(seed)
        index = rng.permutation(len(images))[:_IMAGES]
        pixels = _middle(np.asarray(images[np.sort(index)], "float64"))
        mean, deviation = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2)) + 1.0
        x = target = (pixels - mean) / deviation
        for kernel, bias in zip(self._kernels[:2], self._biases[:2], strict=True):
            rows = _neighbors(x)
            drawn = rng.normal(size=(rows.shape[-1], CHANNELS))
            features = rows @ drawn
            scale = features.std((0, 1, 2)) + 1e-6
            shift = features.mean((0, 1, 2)) / scale
            kernel.assign((drawn / scale).reshape(kernel.shape))
            bias.assign(-shift)
            x = features / scale - shift
            x = np.where(x > 0, x, SLOPE * x)
        rows = _neighbors(x).reshape(-1, 9 * CHANNELS)
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        flat = target.reshape(len(rows), -1)
        moments = rows.T @ rows + _RIDGE * len(rows) * np.eye(rows.shape[1])
        fitted = np.linalg.solve(moments, rows.T @ flat)
        self._kernels[2].assign(fitted[:-1].reshape(self._kernels[2].shape))
        self._biases[2].assign(fitted[-1])
        self._mean.assign(mean)
        self._deviation.assign(deviation)
        errors = ((rows @ fitted - flat).reshape(target.shape) * deviation) ** 2
        return float(np.mean(20 * np.log10(255 / np.sqrt(errors.mean((1, 2, 3))))))

    def __call__(self, images, changes):
        """Returns what a changed network makes of images.

        Args:
            images: Tensor of shape `(batch, height, width, channels)`, in `[0, 255]`.
            changes: Tensor of shape `(batch, num_changes)`.

        Returns:
            float32 tensor of the shape of the images, in `[0, 255]`.
        """
        mean, deviation = self._mean.value, self._deviation.value
        x = (ops.cast(images, "float32") - mean) / deviation
        layers = zip(self._kernels, self._biases, self.split(changes), strict=True)
        for number, (kernel, bias, change) in enumerate(layers):
            x = ops.leaky_relu(x, SLOPE) if number else x
            x = ops.conv(x, kernel.value, padding="same") + bias.value
            scale, shift = ops.split(change, 2, axis=-1)
            x = x * (1 + scale[:, None, None]) + shift[:, None, None]
        return ops.clip(x * deviation + mean, 0.0, 255.0)

    def split(self, changes) -> list:
        """Returns the parts of changes that are of each convolution."""
        return ops.split(changes, np.cumsum(self._sizes)[:-1].tolist(), axis=-1)


def _middle(images):
    """Returns the pixels in the middle of images."""
    for axis in (1, 2):
        start = max(images.shape[axis] - _SIDE, 0) // 2
        place = np.arange(start, min(start + _SIDE, images.shape[axis]))
        images = np.take(images, place, axis)
    return images


def _neighbors(x):
    """Returns the 3 x 3 pixels around each, of shape `(..., 9 * channels)`."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    shifted = [
        padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)
    ]
    return np.concatenate(shifted, axis=-1)


def _variable(shape, name):
    zeros = np.zeros(shape, "float32")
    return keras.Variable(zeros, trainable=False, name=f"image_to_image_{name}")
