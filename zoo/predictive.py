"""What sampled logits say: the mean prediction and how uncertain it is.

Every function takes logits of shape `(samples, batch, num_classes)`, as a posterior
returns them, or `(samples, batch, height, width, num_classes)`, one row for each pixel,
of any float type, and computes in float32. What it returns has the axes between those
of the samples and of the classes. Other shapes, NaN, and probabilities in place of
logits are a ValueError, where the numbers are known: not in compiled functions.
Uncertainties are in nats:

    entropy = expected_entropy + mutual_information

The expected entropy is the aleatoric part, which lies in the images. The mutual
information is the epistemic part, the disagreement of the samples, which would vanish
with enough training examples.

The last functions are for regressors, whose samples are means and standard deviations,
of shape `(samples, batch, 2)`: the prediction is the mixture of these Gaussians. Its
variance is the mean of the variances, the aleatoric part, and the variance of the
means, the epistemic part.
"""

import math

from keras import ops

from zoo.outputs import check_gaussians, check_logits

# In place of the logarithm of zero, so that zero times it is zero.
_LOWEST = -1e30


def _checked(logits):
    check_logits(logits)
    return ops.convert_to_tensor(logits, "float32")


def _log_softmax(logits):
    return ops.log_softmax(_checked(logits), axis=-1)


def _finite(log_probs):
    return ops.maximum(log_probs, _LOWEST)


def _log_mean_exp(log_probs):
    # Written out because symbolic tensors may not know the number of samples.
    # With an initial value, there may be no images.
    largest = ops.max(log_probs, axis=0, initial=_LOWEST)
    return largest + ops.log(ops.mean(ops.exp(log_probs - largest), axis=0))


def _entropy(log_probs):
    return -ops.sum(ops.exp(log_probs) * _finite(log_probs), axis=-1)


def probs(logits):
    """Returns the mean of the sampled probabilities, of shape `(batch, num_classes)`.

    Example:

    >>> import keras
    >>> samples = keras.ops.log([[[0.5, 0.5]], [[0.25, 0.75]]])
    >>> keras.ops.convert_to_numpy(probs(samples)).round(3).tolist()
    [[0.375, 0.625]]
    """
    return ops.mean(ops.softmax(_checked(logits), axis=-1), axis=0)


def log_probs(logits):
    """Returns the logarithm of `probs`, without underflow.

    It is itself a valid logit: its softmax is the mean of the sampled probabilities.
    """
    return _log_mean_exp(_log_softmax(logits))


def entropy(logits):
    """Returns the entropy of the mean prediction, of shape `(batch,)`, in nats."""
    return _entropy(log_probs(logits))


def expected_entropy(logits):
    """Returns the mean entropy of the samples, of shape `(batch,)`, in nats.

    It is the aleatoric part of `entropy`, between 0 and `log(num_classes)`.
    """
    return ops.mean(_entropy(_log_softmax(logits)), axis=0)


def mutual_information(logits):
    """Returns how much the samples disagree, of shape `(batch,)`, in nats.

    It is the epistemic part of `entropy`: the mutual information of the label and the
    sample, which is the mean KL divergence of the samples from the mean prediction. It
    is zero if all samples are equal, and at most `log(samples)`.

    Reference:
        [Bayesian Active Learning for Classification](https://arxiv.org/abs/1112.5745)
        (Houlsby et al., 2011), Eq. 2.
    """
    samples = _log_softmax(logits)
    difference = _finite(samples) - _finite(_log_mean_exp(samples))
    divergence = ops.exp(samples) * difference
    # Divergences are not negative, but their float32 sums may be.
    return ops.relu(ops.mean(ops.sum(divergence, axis=-1), axis=0))


def variation_ratio(logits):
    """Returns the share of samples that do not predict the most frequent class.

    It has the shape `(batch,)` and lies in `[0, 1 - 1 / samples]`.

    Reference:
        [Dropout as a Bayesian Approximation](https://arxiv.org/abs/1506.02142)
        (Gal and Ghahramani, 2016).
    """
    logits = _checked(logits)
    votes = ops.one_hot(ops.argmax(logits, axis=-1), logits.shape[-1])
    # On PyTorch `ops.max` of no examples has no axis.
    return 1 - ops.top_k(ops.mean(votes, axis=0), 1)[0][..., 0]


def _checked_gaussians(samples):
    check_gaussians(samples)
    values = ops.convert_to_tensor(samples, "float32")
    return values[..., 0], values[..., 1]


def gaussian(samples):
    """Returns mean and standard deviation of the mixture, of shape `(batch, 2)`.

    Example:

    >>> from keras import ops
    >>> samples = [[[0.0, 3.0]], [[8.0, 3.0]]]
    >>> ops.convert_to_numpy(gaussian(ops.array(samples))).tolist()
    [[4.0, 5.0]]

    Reference:
        [Simple and Scalable Predictive Uncertainty Estimation](
        https://arxiv.org/abs/1612.01474) (Lakshminarayanan et al., 2017), Section 2.4.
    """
    means, scales = _checked_gaussians(samples)
    mean = ops.mean(means, axis=0)
    # The mean of the squares less the square of the mean would cancel.
    variance = ops.mean(ops.square(scales) + ops.square(means - mean), axis=0)
    return ops.stack([mean, ops.sqrt(variance)], axis=-1)


def aleatoric_scale(samples):
    """Returns the root of the mean variance of the samples, of shape `(batch,)`."""
    _, scales = _checked_gaussians(samples)
    return ops.sqrt(ops.mean(ops.square(scales), axis=0))


def epistemic_scale(samples):
    """Returns the standard deviation of the sampled means, of shape `(batch,)`."""
    means, _ = _checked_gaussians(samples)
    return ops.std(means, axis=0)


def log_density(samples, targets):
    """Returns the log density of targets under the mixture, of shape `(batch,)`.

    Args:
        samples: Means and standard deviations, of shape `(samples, batch, 2)`.
        targets: Tensor of shape `(batch,)`, in the unit of the means.
    """
    means, scales = _checked_gaussians(samples)
    distance = (ops.convert_to_tensor(targets, "float32") - means) / scales
    logs = -0.5 * ops.square(distance) - ops.log(scales) - 0.5 * math.log(2 * math.pi)
    return _log_mean_exp(logs)
