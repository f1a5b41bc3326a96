"""Samples of all weights of a network, as a Markov chain gives them."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

import layers
from zoo.posterior.monte_carlo import MonteCarlo
from zoo.posterior.swag import Averages


@keras.saving.register_keras_serializable(package="zoo")
class WeightSamples(Averages):
    """Predictions of networks whose weights are samples of the posterior.

    `zoo-sample` draws them by Hamiltonian Monte Carlo; `collect` takes them, or the
    weights along a training. Sample `s` of a prediction is that of draw `s`; where
    there are more draws, of `num_samples` that are evenly spread over all of them,
    hence over all chains. Without batch normalization that is all, and else `adapt`
    measures the batch statistics of each draw.

    Args:
        model: From images to logits; its weights do not matter. It must not draw.
        num_samples: How many of the draws.
        num_images: How many images the batch statistics are of, at most.
        seed: Of nothing, as no sample is drawn by a call.

    Output shape: `(num_samples, batch, num_classes)`.

    Reference:
        [What Are Bayesian Neural Network Posteriors Really Like?](
        https://arxiv.org/abs/2104.14421) (Izmailov et al., 2021).
    """

    def __init__(
        self,
        model: keras.Model | MonteCarlo,
        num_samples: int = 10,
        num_images: int = 2048,
        seed: int | None = None,
        **kwargs,
    ):
        size = layers.checks.check_count(num_samples, "num_samples")
        super().__init__(
            model, lambda n: {"samples": (size, n)}, size, num_images, seed, **kwargs
        )

    @classmethod
    def _of_size(cls, model, num_samples, **settings):
        return cls(model, **{"num_samples": num_samples, **settings})

    @property
    def needs_statistics(self) -> bool:
        """Whether `adapt` has to measure batch statistics."""
        return "statistics" in self.adapted_weights

    def settings(self):
        return {"num_samples": self.num_samples, **super().settings()}

    def moments(self):
        return _Rows(self.num_samples)

    def collect(self, snapshots):
        super().collect(snapshots)
        self._is_fitted = not self.needs_statistics

    def flat(self, values, number):
        return ops.take(ops.convert_to_tensor(values["samples"]), number, axis=0)


class _Rows:
    """Rows that come one by one, of which some are chosen at the end."""

    def __init__(self, size):
        self.size, self.rows = size, []

    @property
    def count(self):
        return len(self.rows)

    def add(self, row):
        self.rows.append(row.astype("float32"))

    def solve(self) -> dict[str, np.ndarray]:
        return {"samples": np.stack([self.rows[i] for i in _spread(self.size, self)])}


def _spread(size, rows) -> Sequence[int]:
    """Returns numbers of rows, evenly from the first on."""
    if size > rows.count:
        raise ValueError(
            f"There are {rows.count} draws of the weights; sample more, or ask for "
            f"fewer. Received: num_samples={size}"
        )
    return [place * rows.count // size for place in range(size)]
