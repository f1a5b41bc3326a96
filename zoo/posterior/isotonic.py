"""Isotonic regression: a monotone function of the probability of each class."""

import keras
import numpy as np
from keras import ops

from zoo.posterior.base import Posterior
from zoo.posterior.scaler import Scaler, check_every_class, check_fit

# Points of each function. Five thousand images of CIFAR-10 need about forty.
NUM_KNOTS = 128


@keras.saving.register_keras_serializable(package="zoo")
class Isotonic(Scaler):
    """Maps the probability of each class by a monotone function, and normalizes these.

    The function of a class is the monotone one with the smallest squared distance from
    whether images are of that class. It goes in straight lines between the ends of its
    steps, which are at most `NUM_KNOTS` points: of more, evenly spread ones are taken.
    Of `n` images it is never below `1 / (n + 2)`, for that an event was not seen does
    not mean that it never happens; a zero would cost infinitely many nats.

    Of several samples the probabilities are those of the mean prediction; see
    `zoo.posterior.Temperature`. Other classes may become the most probable, and some
    probabilities equal.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean. `adapt` needs images of every class, hundreds rather than
    tens.

    Args:
        posterior: A model from images to logits, or a posterior.
        seed: Makes the calls without a seed reproducible.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(1, batch, num_classes)`.

    Reference:
        [Transforming Classifier Scores into Accurate Multiclass Probability Estimates](
        https://doi.org/10.1145/775047.775151) (Zadrozny and Elkan, 2002), sections 4
        and 5.
    """

    adapted_weights = ("places", "heights")

    def __init__(
        self, posterior: keras.Model | Posterior, seed: int | None = None, **kwargs
    ):
        super().__init__(posterior, seed, **kwargs)
        line = np.tile(np.linspace(0, 1, NUM_KNOTS), (self.num_classes, 1))
        self.places = self.add_learned("places", line)
        self.heights = self.add_learned("heights", line)

    def fit(self, logits, labels) -> dict[str, np.ndarray]:
        logits, labels = check_fit(logits, labels)
        check_every_class(labels, self.num_classes)
        exps = np.exp(logits - logits.max(axis=1, keepdims=True))
        probs = exps / exps.sum(axis=1, keepdims=True)
        knots = [monotone(p, labels == k) for k, p in enumerate(probs.T)]
        places, heights = map(np.stack, zip(*knots, strict=True))
        lowest = 1 / (len(labels) + 2)
        return {"places": places, "heights": np.maximum(heights, lowest)}

    def scale(self, logits, values):
        places, heights = (
            ops.cast(values[k], logits.dtype) for k in self.adapted_weights
        )
        widths = places[:, 1:] - places[:, :-1]
        widths = ops.where(widths > 0, widths, 1.0)
        # How far each step between two points has been climbed.
        climbed = ops.expand_dims(ops.softmax(logits, axis=-1), -1) - places[:, :-1]
        climbed = ops.clip(climbed / widths, 0.0, 1.0)
        rises = heights[:, 1:] - heights[:, :-1]
        return ops.log(heights[:, 0] + ops.sum(climbed * rises, axis=-1))


def monotone(probs: np.ndarray, is_class: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the points of the monotone function that fits best.

    Args:
        probs: float64 array of the probabilities of a class.
        is_class: Boolean array: whether the images are of that class.

    Returns:
        Two arrays of `NUM_KNOTS` numbers that do not fall, the places in `[0, 1]` and
        the heights there; the last point is repeated where there are fewer.
    """
    from scipy import optimize

    places, inverse = np.unique(probs, return_inverse=True)
    weights = np.bincount(inverse).astype("float64")
    means = np.bincount(inverse, is_class.astype("float64")) / weights
    heights = optimize.isotonic_regression(means, weights=weights).x
    # The inner points of a step lie between its ends.
    changes = np.diff(heights) != 0
    is_end = np.append(True, changes) | np.append(changes, True)
    places, heights = places[is_end], heights[is_end]
    if len(places) > NUM_KNOTS:
        chosen = np.linspace(0, len(places) - 1, NUM_KNOTS).round().astype(int)
        places, heights = places[chosen], heights[chosen]
    missing = (0, NUM_KNOTS - len(places))
    return np.pad(places, missing, "edge"), np.pad(heights, missing, "edge")
