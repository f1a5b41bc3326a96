"""What every posterior is: a layer from images to sampled logits."""

import keras
import numpy as np
from keras import ops

import layers


class Posterior(layers.RandomLayer):
    """Base class of posteriors, called as `posterior(images, seed=None, offset=0)`.

    With a seed, an integer or a scalar integer tensor, the samples are a pure function
    of it: sample `s` of an image depends on the seed, on `s`, on the image and on its
    number alone, which is `offset` plus its place in the batch. The split into batches
    does not matter then, and no state is read or written. Without a seed every call
    draws a new one, from the state that the `seed` of the constructor starts.

    Subclasses set `num_samples`, `num_classes`, `image_shape` and, if they are known,
    the names of the `classes`, and implement `sample(images, key, offset)`.

    Args:
        seed: Makes the calls without a seed reproducible.

    Input shape: `(batch, *image_shape)`; a batch may hold no image.

    Output shape: `(num_samples, batch, num_classes)`, of float32 logits.
    """

    stochastic = False  # The layers inside may be.
    classes: tuple[str, ...] = ()

    def __init__(self, seed: int | None = None, **kwargs):
        # The model casts the images itself; half precision could not hold them.
        super().__init__(seed, autocast=False, **kwargs)
        self.built = True

    def call(self, images, seed=None, offset=0):
        check_images(images, self.image_shape)
        key = self.next_key() if seed is None else seed
        samples = self.sample(images, key, offset)
        # The KL terms are for training, and loops leave tensors of their bodies there.
        self._clear_losses()
        return samples

    def sample(self, images, key, offset):
        """Returns the samples of one key; see the class."""
        raise NotImplementedError

    def probe_once(self, images):
        """Checks on some images what is not known of the models before; see MonteCarlo.

        Args:
            images: Array of shape `(batch, *image_shape)`.

        Raises:
            ValueError: If a model returns no logits, or its draws cannot be compiled.
        """

    def compute_output_shape(self, input_shape):
        return self.num_samples, input_shape[0], self.num_classes

    def compute_output_spec(self, images, seed=None, offset=0):
        return keras.KerasTensor(self.compute_output_shape(images.shape), "float32")


def check_images(images, image_shape: tuple):
    """Checks the shape of a batch, before anything is compiled for it.

    Args:
        images: Tensor or array.
        image_shape: The shape of one of them, with None for any size.

    Raises:
        ValueError: If they have another shape.
    """
    shape = getattr(images, "shape", None)
    shape = np.shape(images) if shape is None else shape
    if getattr(shape, "rank", 0) is None:  # TensorFlow knows later.
        return
    sides = tuple(shape)[1:]
    if len(sides) != len(image_shape) or any(
        None not in (side, size) and side != size
        for side, size in zip(sides, image_shape, strict=True)
    ):
        raise ValueError(
            f"`images` must have the shape {('batch', *image_shape)}. "
            f"Received: images.shape={tuple(shape)}"
        )


def at_least_one(images):
    """Returns images, or one of zeros where there is none.

    Without an image some kernels fail, and others lose the shape of their outputs.

    Args:
        images: Tensor of shape `(batch, *image_shape)`.
    """
    batch, *sides = ops.shape(images)
    if isinstance(batch, int):
        return images if batch else ops.zeros((1, *sides), images.dtype)
    if keras.backend.backend() != "tensorflow":
        return images  # JAX takes the unknown size of an export to be positive.
    import tensorflow as tf

    # A condition passes images on as they are; padding would copy them.
    row = tf.stack([1, *sides])
    rows = tf.cond(
        tf.equal(batch, 0), lambda: tf.zeros(row, images.dtype), lambda: images
    )
    return tf.ensure_shape(rows, images.shape)
