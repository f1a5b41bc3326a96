"""Dirichlet calibration: a linear map of the log-probabilities of all classes."""

import keras
import numpy as np
from keras import ops

import layers
from zoo.posterior import linear_maps
from zoo.posterior.base import Posterior
from zoo.posterior.scaler import Scaler, check_every_class, check_fit

# In place of the logarithms of smaller probabilities, which float32 does not have.
_LOWEST = float(np.log(np.finfo("float32").tiny))


@keras.saving.register_keras_serializable(package="zoo")
class Dirichlet(Scaler):
    """Maps log-probabilities linearly to fit data that the model has not seen.

    The logits that come out are `log(probs) @ weight + bias`: the posterior of the
    class if the probabilities of each class have a Dirichlet distribution. Of several
    samples `probs` are the mean. The weights minimize the NLL of labeled images plus

        penalty * (mean of the squares of `weight` off its diagonal + of `bias`)

    without which the `num_classes**2` numbers would fit few images too well.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean. `adapt` needs images of every class.

    Args:
        posterior: A model from images to logits, or a posterior.
        penalty: What keeps `weight` near a diagonal matrix, in nats; not negative.
        seed: Makes the calls without a seed reproducible.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(1, batch, num_classes)`.

    Reference:
        [Beyond Temperature Scaling](https://arxiv.org/abs/1910.12656) (Kull et al.,
        2019), section 3 and Eq. 9 (ODIR), with one penalty for both.
    """

    adapted_weights = ("weight", "bias")

    def __init__(
        self,
        posterior: keras.Model | Posterior,
        penalty: float = 0.01,
        seed: int | None = None,
        **kwargs,
    ):
        if not (layers.checks.is_number(penalty) and 0 <= penalty < np.inf):
            raise ValueError(
                "`penalty` keeps the map near a diagonal one and must not be negative. "
                f"Received: penalty={penalty}"
            )
        super().__init__(posterior, seed, **kwargs)
        self.penalty = penalty
        self.weight = self.add_learned("weight", np.eye(self.num_classes))
        self.bias = self.add_learned("bias", np.zeros(self.num_classes))

    def fit(self, logits, labels) -> dict[str, np.ndarray]:
        logits, labels = check_fit(logits, labels)
        count = self.num_classes
        check_every_class(labels, count)
        rows = logits - logits.max(axis=1, keepdims=True)
        rows = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
        rows = np.maximum(rows, _LOWEST)
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        # Of the weight and, below it, of the bias.
        shares = np.concatenate(
            [(1 - np.eye(count)) / (count * (count - 1)), np.ones((1, count)) / count]
        )
        shares *= self.penalty
        found = linear_maps.fit(
            rows,
            labels,
            np.concatenate([np.eye(count), np.zeros((1, count))]),
            lambda w: rows @ w,
            lambda r: rows.T @ r,
            lambda w: (np.sum(shares * w**2), 2 * shares * w),
        )
        return {"weight": found[:-1], "bias": found[-1]}

    def scale(self, logits, values):
        weight, bias = (ops.cast(values[k], logits.dtype) for k in self.adapted_weights)
        log_probs = ops.maximum(ops.log_softmax(logits, axis=-1), _LOWEST)
        return ops.matmul(log_probs, weight) + bias

    def get_config(self):
        return {**super().get_config(), "penalty": self.penalty}
