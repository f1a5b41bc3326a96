"""Vector scaling: a factor and an offset for the logit of each class."""

import keras
import numpy as np
from keras import ops

from zoo.posterior import linear_maps
from zoo.posterior.base import Posterior
from zoo.posterior.scaler import Scaler, check_every_class, check_fit


@keras.saving.register_keras_serializable(package="zoo")
class Vector(Scaler):
    """Scales and shifts the logits of each class to fit data not seen by the model.

    The logits that come out are `weight * logits + bias`, with the `2 * num_classes`
    numbers that minimize the NLL of labeled images. Of several samples `logits` are
    those of the mean prediction; see `zoo.posterior.Temperature`. Unlike a temperature
    it may change which class is the most probable.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean. `adapt` needs images of every class.

    Args:
        posterior: A model from images to logits, or a posterior.
        seed: Makes the calls without a seed reproducible.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(1, batch, num_classes)`.

    Reference:
        [On Calibration of Modern Neural Networks](https://arxiv.org/abs/1706.04599)
        (Guo et al., 2017), Eq. 8, with a diagonal matrix.
    """

    adapted_weights = ("weight", "bias")

    def __init__(
        self, posterior: keras.Model | Posterior, seed: int | None = None, **kwargs
    ):
        super().__init__(posterior, seed, **kwargs)
        self.weight = self.add_learned("weight", np.ones(self.num_classes))
        self.bias = self.add_learned("bias", np.zeros(self.num_classes))

    def fit(self, logits, labels) -> dict[str, np.ndarray]:
        logits, labels = check_fit(logits, labels)
        check_every_class(labels, self.num_classes)
        start = np.stack([np.ones(self.num_classes), np.zeros(self.num_classes)])
        weight, bias = linear_maps.fit(
            logits,
            labels,
            start,
            lambda w: w[0] * logits + w[1],
            lambda r: np.stack([np.sum(r * logits, axis=0), np.sum(r, axis=0)]),
        )
        return {"weight": weight, "bias": bias}

    def scale(self, logits, values):
        weight, bias = (ops.cast(values[k], logits.dtype) for k in self.adapted_weights)
        return logits * weight + bias
