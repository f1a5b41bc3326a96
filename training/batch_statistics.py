"""Batch normalization by the statistics of given images."""

import keras
import numpy as np
from keras import ops

import layers
from layers import compilation
from layers.batch_statistics import batch_normalizations, measuring, pooled
from training.progress import track


def update_batch_statistics(
    model: keras.Model,
    images,
    batch_size: int = 128,
    num_images: int = 10_000,
    seed: int = 0,
):
    """Sets the moving statistics of each batch normalization to those of images.

    A network in which something changed, a new layer, other images, averaged weights,
    still normalizes by the statistics of the old one. Here the images pass once,
    without a gradient. Each batch is normalized by its own statistics, as in training,
    and all batches together make the new ones: their mean and variance per channel over
    all images and positions, in which every value counts the same.

    Everything else is as in prediction: MC dropout and Gaussian weights are active,
    Keras' own `Dropout` is not. Weights and random counters stay as they are, and so
    do the statistics if there is an error. A frozen layer, one in a nested model, or
    one that is called with `training=False` is updated too.

    The images come in random order, as a batch of one class is not like the others, in
    batches of nearly equal size. The first normalization does not depend on the size of
    a batch at all; those behind it do, through the statistics of batches before them,
    the less the larger it is. From a size of `num_images` on they are exact.

    Args:
        model: Keras model.
        images: Array of shape `(images, height, width, channels)`, or an object that
            gives such arrays when it is indexed by an array of integers.
        batch_size: The largest batch.
        num_images: Maximal number of images; of more, this number is drawn.
        seed: Seed of the order of the images, and of random layers.

    Raises:
        ValueError: If the model has no batch normalization, or one that it does not
            call, or there are no images.
        FloatingPointError: If a statistic is not finite.

    Reference:
        [Rethinking "Batch" in BatchNorm](https://arxiv.org/abs/2105.07576)
        (Wu and Johnson, 2021), section 3, "PreciseBN".
    """
    norms = batch_normalizations(model)
    if not norms:
        raise ValueError(
            f"The model '{model.name}' has no batch normalization to update."
        )
    if not len(images) or min(batch_size, num_images) < 1:
        raise ValueError(
            "There must be images, and batches of them. Received: "
            f"{len(images)} images, batch_size={batch_size}, num_images={num_images}"
        )
    order = np.random.default_rng(seed).permutation(len(images))[:num_images]
    step, noted = _compiled(model, norms, seed), [[] for _ in norms]
    start = 0
    with track("Batch statistics", len(order)) as progress:
        for index in np.array_split(order, -(-len(order) // batch_size)):
            batch = map(ops.convert_to_tensor, (images[index], np.int32(start)))
            for own, new in zip(noted, step(*batch), strict=True):
                own += [[ops.convert_to_numpy(x) for x in moments] for moments in new]
            start += len(index)
            progress(len(index))
    statistics = [pooled(*pair) for pair in zip(norms, noted, strict=True)]
    for layer, (mean, variance) in zip(norms, statistics, strict=True):
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)


def _compiled(model, norms, seed):
    """Returns a function of images to the moments that each layer finds in them."""

    def step(images, offset):
        noted = [[] for _ in norms]
        with layers.stream(seed, offset), measuring(norms, noted):
            model(images, training=False)
        return noted

    # In one program, for in eager mode all feature maps stay until the end.
    return compilation.program(step, autograph=True)
