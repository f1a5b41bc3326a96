"""Networks whose logits are a distribution of predictions: Dirichlet."""

from collections.abc import Sequence

import keras
from keras import ops

from layers.special import digamma
from zoo.posterior.monte_carlo import MonteCarlo

_LARGEST = 30.0  # Of logits: the exponentials stay finite in float32.


@keras.saving.register_keras_serializable(package="zoo")
class PriorNetwork(MonteCarlo):
    """The predictions of a network that was taught the spread of an ensemble.

    The exponentials of its logits are the concentrations of a Dirichlet distribution,
    as the objective `distribution_distillation` trains them, so that one pass says how
    far the members of the ensemble would be apart. The samples are those of the network
    itself: the softmax of its logits is the mean of the distribution. `scored` gives
    the `epistemic` uncertainty beside them, the mutual information of class and
    prediction in nats.

    Args:
        model: From images to logits.
        num_samples: The number of forward passes of a model that draws.
        **kwargs: As `MonteCarlo` takes them.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(num_samples, batch, num_classes)`.

    Example:

    >>> import zoo
    >>> posterior = PriorNetwork(zoo.build("resnet20", (32, 32, 3), 10), 1)
    >>> logits, scores = posterior.scored(ops.zeros((2, 32, 32, 3)))
    >>> tuple(logits.shape), tuple(scores["epistemic"].shape)
    ((1, 2, 10), (2,))

    Reference:
        [Ensemble Distribution Distillation](https://arxiv.org/abs/1905.00076)
        (Malinin et al., 2020), section 3.
    """

    score_names = ("epistemic",)
    tasks = ("classification", "segmentation")

    @classmethod
    def from_models(cls, models: Sequence, num_samples: int = 10, **settings):
        made = super().from_models(models, num_samples, **settings)
        if made.repeats_itself:
            made.num_samples = 1
        return made

    def scored(self, images, seed=None, offset=0):
        samples = self(images, seed=seed, offset=offset)
        return samples, _scores(samples)

    def first_scored(self, images, key, offset, num_samples):
        samples = self.first(images, key, offset, num_samples)
        return samples, _scores(samples)


def _scores(samples):
    return {"epistemic": ops.mean(dirichlet_information(samples), axis=0)}


def log_concentrations(logits):
    """Returns the logarithms of concentrations, whose exponentials are finite.

    Args:
        logits: Tensor of any shape.

    Returns:
        float32 tensor of that shape, at most 30.
    """
    return ops.minimum(ops.cast(logits, "float32"), _LARGEST)


def dirichlet_information(logits):
    """Returns the mutual information of a class and a prediction, in nats.

    Predictions are those of a Dirichlet distribution with concentrations
    `a = exp(logits)`, of the mean `m = softmax(logits)`:

        -sum(m * (log(m) - digamma(a + 1) + digamma(sum(a) + 1)))

    It is zero where all predictions agree, however unsure they are.

    Args:
        logits: Tensor of shape `(..., num_classes)`.

    Returns:
        float32 tensor of shape `(...)`.

    Reference:
        [Predictive Uncertainty Estimation via Prior Networks](
        https://arxiv.org/abs/1802.10501) (Malinin and Gales, 2018), section 3.
    """
    logits = log_concentrations(logits)
    concentrations, logs = ops.exp(logits), ops.log_softmax(logits)
    total = ops.sum(concentrations, axis=-1, keepdims=True)
    terms = logs - digamma(concentrations + 1) + digamma(total + 1)
    return ops.maximum(-ops.sum(ops.exp(logs) * terms, axis=-1), 0.0)
