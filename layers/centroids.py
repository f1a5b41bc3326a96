"""Distances to a centroid of each class: the head of DUQ."""

import math

import keras
from keras import ops

from layers import checks, replicas


@keras.saving.register_keras_serializable(package="layers")
class ClassCentroids(keras.layers.Layer):
    """Logarithms of Gaussian kernels of the distances to a centroid of each class.

    Each class `c` has a linear map `W_c` to an embedding of `n` dimensions and a
    centroid `e_c` in it, and the logits of features `h` are

        log K_c = -mean((W_c @ h - e_c)^2) / (2 * length_scale^2)

    so `exp` of a logit, in `(0, 1]`, says by itself how close an example is to a class,
    whatever the other classes are, and all of them are small far away: the largest
    logit tells what is unlike the training set. A softmax of the logits is the kernels
    over their sum, which has forgotten that.

    Centroids are moving averages, which `update` moves and gradients do not. The
    objective `duq` of `training.objectives` calls it in every step.

    Args:
        units: The number of classes.
        embedding_size: Dimensions `n` of the embedding, by default those of the
            features.
        length_scale: That of the kernels.
        momentum: How much of the averages an update keeps, in `[0, 1]`.
        initial_count: How many examples of each class the first centroids count for;
            about those in a batch.
        kernel_initializer: Initializer of the maps, by default normal with a variance
            of `2 / (units * features)`.

    Input shape: `(batch, features)`.

    Output shape: `(batch, units)`.

    Example:

    >>> layer = ClassCentroids(3, momentum=0.0)
    >>> features = keras.random.normal((4, 8))
    >>> _ = layer(features)
    >>> layer.update(features[:1], [2])
    >>> float(ops.exp(layer(features))[0, 2])  # The centroid is its embedding.
    1.0

    Reference:
        [Uncertainty Estimation Using a Single Deep Deterministic Neural Network](
        https://arxiv.org/abs/2003.02037) (van Amersfoort et al., 2020), Eqs. 1 and 4
        to 6.
    """

    ranks_by = "max_logit"  # That of the nearest class; a softmax forgets it.

    def __init__(
        self,
        units: int,
        embedding_size: int | None = None,
        length_scale: float = 0.1,
        momentum: float = 0.999,
        initial_count: float = 13.0,
        kernel_initializer: str | keras.Initializer | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = checks.check_count(units, "units")
        if embedding_size is not None:
            checks.check_count(embedding_size, "embedding_size")
        self.embedding_size = embedding_size
        self.length_scale = checks.check_positive(length_scale, "length_scale")
        if not (checks.is_number(momentum) and 0 <= momentum <= 1):
            raise ValueError(
                "`momentum` is the share of the averages that an update keeps, in "
                f"[0, 1]. Received: momentum={momentum}"
            )
        self.momentum = momentum
        self.initial_count = checks.check_positive(initial_count, "initial_count")
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.input_spec = keras.layers.InputSpec(ndim=2)

    def build(self, input_shape):
        features = input_shape[-1]
        size = self.embedding_size or features
        deviation = math.sqrt(2 / (self.units * features))
        self.kernel = self.add_weight(
            (features, size, self.units),
            self.kernel_initializer or keras.initializers.RandomNormal(0, deviation),
            autocast=False,
            name="kernel",
        )
        self.counts = self.add_weight(
            (self.units,),
            keras.initializers.Constant(self.initial_count),
            trainable=False,
            autocast=False,
            name="counts",
        )
        self.sums = self.add_weight(
            (size, self.units),
            keras.initializers.RandomNormal(0, 0.05 * self.initial_count),
            trainable=False,
            autocast=False,
            name="sums",
        )
        self.input_spec.axes = {-1: features}

    @property
    def centroids(self):
        """The centroids, of shape `(embedding_size, units)`."""
        # The count of a class that no longer comes goes to zero, and so does its sum.
        return self.sums / ops.maximum(self.counts, 1e-30)

    def embed(self, features):
        """Returns the embeddings of examples, one for each class.

        Args:
            features: Tensor of shape `(batch, features)`.

        Returns:
            Tensor of shape `(batch, embedding_size, units)`.
        """
        kernel = ops.convert_to_tensor(self.kernel)
        inputs, size, units = kernel.shape
        flat = ops.reshape(kernel, (inputs, size * units))
        embeddings = ops.matmul(ops.cast(features, kernel.dtype), flat)
        return ops.reshape(embeddings, (-1, size, units))

    def call(self, inputs):
        squares = ops.square(self.embed(inputs) - self.centroids)
        logits = -ops.mean(squares, axis=1) / (2 * self.length_scale**2)
        return ops.cast(logits, self.compute_dtype)

    def update(self, features, labels):
        """Moves the centroids towards the embeddings of examples of their class.

        Several replicas move by the examples of all. A frozen layer stays as it is.

        Args:
            features: Tensor of shape `(batch, features)`.
            labels: Integer tensor of shape `(batch,)`.
        """
        if not self.trainable:
            return
        embeddings = ops.stop_gradient(self.embed(features))
        of_class = ops.one_hot(labels, self.units, dtype=embeddings.dtype)
        self._move(self.counts, ops.sum(of_class, axis=0))
        self._move(self.sums, ops.sum(embeddings * of_class[:, None], axis=0))

    def _move(self, average, new):
        new = (1 - self.momentum) * replicas.summed(new)
        average.assign(self.momentum * average + new)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        names = "units", "embedding_size", "length_scale", "momentum", "initial_count"
        own = {name: getattr(self, name) for name in names}
        initializer = self.kernel_initializer
        if initializer is not None:
            initializer = keras.initializers.serialize(initializer)
        return {**super().get_config(), **own, "kernel_initializer": initializer}
