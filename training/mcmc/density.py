"""The log density of the weights of a network, given labeled images."""

import itertools
import math
from collections.abc import Callable

import keras
import numpy as np

import layers
from layers import keras_internals
from layers.batch_statistics import batch_normalizations
from training.bayesian.priors import ModelPrior


def categorical(outputs, labels):
    """Returns the log probability of each label, of logits.

    Args:
        outputs: Tensor of shape `(batch, num_classes)`.
        labels: Integer tensor of shape `(batch,)`.

    Returns:
        Tensor of shape `(batch,)`, in nats.
    """
    return -keras.ops.sparse_categorical_crossentropy(labels, outputs, from_logits=True)


class LogDensity:
    """The log density of weights given all images: likelihood times prior.

    It is a function of one vector of *standardized* weights in float64, of which the
    prior makes the weights by a linear map; see `layers.priors.Prior`. The network
    computes in its own precision. Sums over examples are in float64, as a chain accepts
    by differences of sums that are much larger.

    Args:
        model: A functional model from images to logits, without random layers and batch
            normalization. Its weights do not matter, and its trained ones are sampled.
        prior: The prior of these, which has adapted to the images.
        images: Array of shape `(examples, *image_shape)`.
        labels: Array of shape `(examples, ...)`.
        batch_size: Images that are in memory at a time; the result is of all of them.
        log_likelihood: From outputs of the model and labels to the log likelihood of
            each example, in nats.

    Raises:
        ValueError: If the model has a layer that draws or is normalized by the batch,
            or no weights that are trained; or there are no images, or not as many
            labels.
    """

    def __init__(
        self,
        model: keras.Model,
        prior: ModelPrior,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int = 2_000,
        log_likelihood: Callable = categorical,
    ):
        check_network(model)
        if len(images) != len(labels) or not len(images):
            raise ValueError(
                "A likelihood is that of images with a label each. Received: "
                f"{len(images)} images, {len(labels)} labels"
            )
        import tensorflow as tf

        self.model, self.prior = model, prior
        self._variables = model.trainable_variables
        self._sizes = [math.prod(v.shape) for v in self._variables]
        self.size = sum(self._sizes)
        self._log_likelihood = log_likelihood
        whole = len(images) // batch_size
        edges = [0, whole * batch_size, len(images)]
        parts = [
            (tf.constant(images[a:b]), tf.constant(labels[a:b]))
            for a, b in itertools.pairwise(edges)
        ]
        self._batches = [
            tf.reshape(part, (whole, batch_size, *part.shape[1:])) for part in parts[0]
        ]
        self._num_batches, self._rest = whole, parts[1]

    def __call__(self, standard):
        """Returns the log density of standardized weights up to a constant, in nats.

        Args:
            standard: float64 tensor of shape `(size,)`.

        Returns:
            float64 scalar tensor.
        """
        return self.log_prior(standard) + self.log_likelihood(standard)

    def log_prior(self, standard):
        """Returns the log density of standardized weights by the prior alone."""
        pairs = zip(self.prior.of_weights, self._split(standard), strict=True)
        return sum(prior.standard_log_prob(part) for prior, part in pairs)

    def log_likelihood(self, standard):
        """Returns the log likelihood of all labels by standardized weights.

        Its gradient is computed with it, batch by batch, so that not all features are
        in memory at a time; there is no second derivative.
        """
        import tensorflow as tf

        @tf.custom_gradient
        def summed(standard):
            total, gradient = tf.zeros((), "float64"), tf.zeros_like(standard)
            if self._num_batches == 1:
                total, gradient = self._part(
                    standard, *(part[0] for part in self._batches)
                )
            elif self._num_batches:
                images, labels = self._batches

                def body(number, total, gradient):
                    own = self._part(standard, images[number], labels[number])
                    return number + 1, total + own[0], gradient + own[1]

                _, total, gradient = tf.while_loop(
                    lambda number, *_: number < self._num_batches,
                    body,
                    (0, total, gradient),
                )
            if len(self._rest[0]):
                own = self._part(standard, *self._rest)
                total, gradient = total + own[0], gradient + own[1]
            return total, lambda upstream: upstream * gradient

        return summed(standard)

    def weights(self, standard):
        """Returns the weights of standardized ones, by the model's trained variables.

        Args:
            standard: float64 tensor of shape `(size,)`.
        """
        pairs = zip(self.prior.of_weights, self._split(standard), strict=True)
        made = [prior.from_standard(part) for prior, part in pairs]
        dtypes = [v.dtype for v in self._variables]
        return [keras.ops.cast(w, d) for w, d in zip(made, dtypes, strict=True)]

    def outputs(self, standard, images):
        """Returns the outputs of the network with standardized weights."""
        others = [v.value for v in self.model.non_trainable_variables]
        weights = self.weights(standard)
        found, _ = self.model.stateless_call(weights, others, images, training=False)
        return found

    def assign(self, standard):
        """Gives the model the weights of standardized ones."""
        for variable, value in zip(
            self._variables, self.weights(standard), strict=True
        ):
            variable.assign(value)

    def check(self, standard, chain: int):
        """Checks that a chain can begin with these standardized weights.

        Args:
            standard: float64 tensor of shape `(size,)`.
            chain: Number of the chain.

        Raises:
            ValueError: If a log density there is not finite.
        """
        pairs = zip(self.prior.of_weights, self._split(standard), strict=True)
        for variable, (prior, part) in zip(self._variables, pairs, strict=True):
            value = float(prior.standard_log_prob(part))
            if not math.isfinite(value):
                raise ValueError(
                    f"The log density of the prior of '{variable.path}' must be "
                    f"finite where chain {chain} begins. Received: {value}, of prior="
                    f"{self.prior.text}"
                )
        value = float(self.log_likelihood(standard))
        if not math.isfinite(value):
            raise ValueError(
                f"The log likelihood must be finite where chain {chain} begins; try a "
                f"prior of a smaller scale. Received: {value}, with prior="
                f"{self.prior.text}"
            )

    def _split(self, standard):
        import tensorflow as tf

        parts = tf.split(standard, self._sizes)
        return [
            tf.reshape(part, variable.shape)
            for part, variable in zip(parts, self._variables, strict=True)
        ]

    def _part(self, standard, images, labels):
        """Returns the log likelihood of a batch, and its gradient."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(standard)
            each = self._log_likelihood(self.outputs(standard, images), labels)
            total = tf.reduce_sum(tf.cast(each, "float64"))
        return total, tape.gradient(total, standard)


def check_network(model: keras.Model):
    """Checks that the likelihood of a network is a function of its weights.

    Raises:
        ValueError: If a layer draws, or normalizes by the batch; it is named.
    """
    drawing = [
        layer.name
        for layer in keras_internals.flat_layers(model)
        if isinstance(layer, layers.RandomLayer) and layer.stochastic
    ]
    if drawing or layers.is_stochastic(model):
        names = ", ".join(drawing[:3]) or "a layer"
        raise ValueError(
            "Weights are sampled of networks that do not draw by themselves. Received: "
            f"model={model.name}, with {names}"
        )
    if norms := batch_normalizations(model):
        raise ValueError(
            "Weights are sampled of networks without batch normalization, by which the "
            "prediction for an image depends on others, such as 'lenet5' and 'mlp'. "
            f"Received: model={model.name}, with {norms[0].name}"
        )
    if not model.trainable_variables:
        raise ValueError(
            "There must be weights to sample. Received: model="
            f"{model.name}, without trained weights"
        )
