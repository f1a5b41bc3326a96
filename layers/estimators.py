"""Ways to draw the outputs of a linear map with a Gaussian kernel.

All of them have outputs of the same mean and variance, are called alike and know the
map as a function alone. They differ in what is drawn and in cost:

    flipout                   two maps; a kernel, with other signs for each example
    weight_sampling           one map; a kernel, the same for each example
    local_reparameterization  two maps; no kernel, but each output

`weight_sampling` is the cheapest for large batches. `local_reparameterization` is for
small ones, where a kernel has more entries than the outputs. It draws the outputs
independently of each other, even those of a convolution at neighboring points, which
are correlated under one kernel.
"""

from collections.abc import Callable

from keras import ops

from layers import random


def flipout(linear: Callable, inputs, loc, scale, key, row_keys):
    """Returns `linear(x, loc) + linear(x * s, scale * noise) * r`.

    The examples share one draw of the noise; what makes their perturbations
    uncorrelated are the signs in front of and behind the map.

    Args:
        linear: Function of inputs and kernel.
        inputs: Tensor of shape `(batch, ..., channels)`.
        loc: Mean of the kernel, of the shape that `linear` takes.
        scale: Its standard deviation, of the same shape.
        key: Scalar uint32 tensor.
        row_keys: uint32 tensor of shape `(batch,)`.

    Returns:
        Tensor of shape `(batch, ..., outputs)`.

    Reference:
        [Flipout](https://arxiv.org/abs/1803.04386) (Wen et al., 2018), Eq. 4.
    """
    mean = linear(inputs, loc)
    channels, outputs = inputs.shape[-1], mean.shape[-1]
    middle = [1] * (len(inputs.shape) - 2)  # Signs are constant over space.
    shape = (ops.shape(inputs)[0], *middle, channels + outputs)
    signs = random.signs(row_keys, shape, inputs.dtype)
    noise = random.normal(key, tuple(loc.shape), loc.dtype)
    flipped = linear(inputs * signs[..., :channels], scale * noise)
    return mean + flipped * signs[..., channels:]


def weight_sampling(linear: Callable, inputs, loc, scale, key, row_keys):
    """Returns `linear(x, loc + scale * noise)`; see `flipout`.

    The examples share the kernel, so their perturbations are correlated. Those of
    two calls are not.

    Reference:
        [Weight Uncertainty in Neural Networks](https://arxiv.org/abs/1505.05424)
        (Blundell et al., 2015).
    """
    noise = random.normal(key, tuple(loc.shape), loc.dtype)
    return linear(inputs, loc + scale * noise)


def local_reparameterization(linear: Callable, inputs, loc, scale, key, row_keys):
    """Returns `linear(x, loc) + sqrt(linear(x**2, scale**2)) * noise`; see `flipout`.

    Each output of each example has noise of its own.

    Reference:
        [Variational Dropout and the Local Reparameterization Trick](
        https://arxiv.org/abs/1506.02557) (Kingma et al., 2015), Eq. 6.
    """
    mean = linear(inputs, loc)
    variance = linear(ops.square(inputs), ops.square(scale))
    # A sum of squares, but fast convolutions may round it below zero. It is zero behind
    # rectifiers that are all off, where the root has no derivative.
    is_positive = ops.greater(variance, 0)
    root = ops.sqrt(ops.where(is_positive, variance, ops.ones_like(variance)))
    deviation = ops.where(is_positive, root, ops.zeros_like(variance))
    return mean + deviation * random.normal(row_keys, ops.shape(mean), mean.dtype)


# By their name, and whether a draw of an example follows from its row key alone.
ESTIMATORS = {
    "flipout": flipout,
    "weight_sampling": weight_sampling,
    "local_reparameterization": local_reparameterization,
}
BY_ROW = {"local_reparameterization"}
