"""Losses: cross-entropy, and the evidence lower bound of Gaussian weights."""

import contextvars

import keras
from keras import ops

from layers import checks, compilation
from layers.variational import divergence_per_example
from zoo.classifier import Classifier, classes_of

# How many of the first rows of a replica's batch are images; None is all.
_IMAGES = contextvars.ContextVar("images", default=None)


@keras.saving.register_keras_serializable(package="training")
class SmoothedCrossEntropy(keras.losses.Loss):
    """The cross-entropy of integer labels with label smoothing and logits, in nats.

    Args:
        label_smoothing: Probability spread over all classes.
        num_classes: The number of classes.
    """

    def __init__(self, label_smoothing: float, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        self.label_smoothing, self.num_classes = label_smoothing, num_classes

    def call(self, y_true, y_pred):
        labels = keras.ops.one_hot(y_true, self.num_classes)
        return keras.losses.categorical_crossentropy(
            labels, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )

    def get_config(self):
        own = {"label_smoothing": self.label_smoothing, "num_classes": self.num_classes}
        return {**super().get_config(), **own}


def cross_entropy(label_smoothing: float = 0.0, num_classes: int | None = None):
    """Returns the cross-entropy of integer labels and logits, in nats.

    Args:
        label_smoothing: Probability spread over all classes.
        num_classes: The number of classes; needed for label smoothing only.

    Returns:
        A loss for `compile`.
    """
    if not (checks.is_number(label_smoothing) and 0 <= label_smoothing <= 1):
        raise ValueError(
            "`label_smoothing` is a probability, in [0, 1]. Received: "
            f"label_smoothing={label_smoothing}"
        )
    if not label_smoothing:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return SmoothedCrossEntropy(label_smoothing, num_classes)


@keras.saving.register_keras_serializable(package="training")
class Elbo(Classifier):
    """What `elbo` returns; loaded, copied and cloned it divides by the same number."""

    # Whether weights are those of batches that were filled up; see `training.batches`.
    filled_up = False

    @property
    def num_examples(self) -> int:
        """The size of the training set."""
        return self.knows().get("num_examples", 1)

    def train_step(self, *args, **kwargs):
        # Here, since each replica of a distributed training runs it in its own thread.
        token = _IMAGES.set(self._num_images(*args))
        try:
            with compilation.fused():
                return super().train_step(*args, **kwargs)
        finally:
            _IMAGES.reset(token)

    def _num_images(self, *args):
        weights = keras.utils.unpack_x_y_sample_weight(args[-1])[2]
        if weights is None or not self.filled_up:
            return None
        return ops.sum(ops.cast(weights > 0, "int32"))

    def call(self, inputs, training=None, mask=None):
        # The images alone, so that no batch statistic is of rows that fill up.
        count = _IMAGES.get()
        rows = inputs if count is None else inputs[:count]
        with divergence_per_example(self.num_examples):
            outputs = super().call(rows, training=training, mask=mask)
        if count is None:
            return outputs
        # In place of their logits: they have no weight in the loss.
        missing = (ops.shape(inputs)[0] - count, *outputs.shape[1:])
        return ops.concatenate([outputs, ops.zeros(missing, outputs.dtype)])

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if self.filled_up and sample_weight is not None:
            # Every image is one: sums of ones are exact.
            sample_weight = ops.cast(sample_weight > 0, "float32")
        return super().compute_metrics(x, y, y_pred, sample_weight)


def elbo(model: keras.Model, num_examples: int) -> keras.Model:
    """Makes `fit` minimize the negative evidence lower bound per training example.

    Layers with a Gaussian posterior add their KL divergence from the prior to
    `model.losses`, in nats, and Keras would add that sum to the mean loss of a batch as
    it is. Here it is divided by the number of training examples first. Penalties of
    other layers are left as they are, so a model without Gaussian weights trains as
    before.

    Args:
        model: From images to logits.
        num_examples: The size of the training set, not of a batch.

    Returns:
        A model with the same layers, hence the same weights, to `compile` and `fit`.

    Raises:
        ValueError: If `num_examples` is not positive.

    Example:

    >>> import zoo
    >>> model = zoo.build("resnet20_mcdo", (28, 28, 1), 10)
    >>> trained = elbo(model, num_examples=60_000)
    >>> trained.compile("sgd", cross_entropy())

    Reference:
        [Weight Uncertainty in Neural Networks](https://arxiv.org/abs/1505.05424)
        (Blundell et al., 2015), Eq. 1 divided by the number of examples.
    """
    checks.check_count(num_examples, "num_examples")
    trained = Elbo(inputs=model.input, outputs=model.output, name=model.name)
    trained.know(num_examples=int(num_examples), classes=classes_of(model))
    return trained
