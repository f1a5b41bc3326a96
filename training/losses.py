"""Losses: cross-entropy, and the evidence lower bound of Gaussian weights."""

import keras

from layers import fusion
from layers.variational import divergence_per_example
from zoo.classifier import Classifier, classes_of


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
    if not label_smoothing:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return SmoothedCrossEntropy(label_smoothing, num_classes)


@keras.saving.register_keras_serializable(package="training")
class Elbo(Classifier):
    """What `elbo` returns; loaded, copied and cloned it divides by the same number."""

    @property
    def num_examples(self) -> int:
        """The size of the training set."""
        return self.knows().get("num_examples", 1)

    def train_step(self, *args, **kwargs):
        # Here, since each replica of a distributed training runs it in its own thread.
        with fusion.fused():
            return super().train_step(*args, **kwargs)

    def call(self, inputs, training=None, mask=None):
        with divergence_per_example(self.num_examples):
            return super().call(inputs, training=training, mask=mask)


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
    if num_examples < 1:
        raise ValueError(
            "`num_examples` is the size of the training set. "
            f"Received: num_examples={num_examples}"
        )
    trained = Elbo(inputs=model.input, outputs=model.output, name=model.name)
    trained.know(num_examples=int(num_examples), classes=classes_of(model))
    return trained
