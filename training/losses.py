"""Losses: cross-entropy, and the evidence lower bound of Gaussian weights."""

import keras

from layers import fusion


def cross_entropy(label_smoothing: float = 0.0, num_classes: int | None = None):
    """Returns the cross-entropy of integer labels and logits, in nats.

    Args:
        label_smoothing: Probability spread over all classes.
        num_classes: The number of classes; needed for label smoothing only.

    Returns:
        A function of `(labels, logits)` for `compile`.
    """
    if not label_smoothing:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    smooth = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing
    )

    def smoothed_cross_entropy(labels, logits):
        return smooth(keras.ops.one_hot(labels, num_classes), logits)

    return smoothed_cross_entropy


class _Elbo(keras.Model):
    num_examples = 1

    def train_step(self, *args, **kwargs):
        # Here, since each replica of a distributed training runs it in its own thread.
        with fusion.fused():
            return super().train_step(*args, **kwargs)

    def _aggregate_additional_loss(self, loss):
        return super()._aggregate_additional_loss(loss) / self.num_examples


def elbo(model: keras.Model, num_examples: int) -> keras.Model:
    """Makes `fit` minimize the negative evidence lower bound per training example.

    Layers with a Gaussian posterior add their KL divergence from the prior to
    `model.losses`, in nats, and Keras would add that sum to the mean loss of a batch as
    it is. Here it is divided by the number of training examples first. A model without
    such layers trains as before.

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
    trained = _Elbo(inputs=model.input, outputs=model.output, name=model.name)
    trained.num_examples = num_examples
    return trained
