"""Selective prediction: an answer, or none, with a bound on how many are wrong."""

import keras
import numpy as np
from keras import ops

from zoo.conformal.decision import Decision, check_share
from zoo.posterior.scaler import NoBestFitError

# Shares of the images whose error rates are looked at: a twentieth, two, ... all.
_NUM_LOOKS = 20


def risk_bound(errors: int, count: int, level: float = 0.95) -> float:
    """Returns the largest error rate that some errors are compatible with.

    It is the upper end of the one-sided interval of Clopper and Pearson: of `count`
    independent examples of a higher error rate, as few errors or fewer have a
    probability of less than `1 - level`.

    Args:
        errors: How many of the examples are wrong.
        count: The number of examples.
        level: Probability that the bound is right, in (0, 1).

    Raises:
        ValueError: If there are more errors than examples.

    Example:

    >>> round(risk_bound(0, 59), 3)  # Where 0.95**59 is 0.05.
    0.05

    Reference:
        [The Use of Confidence or Fiducial Limits](https://doi.org/10.1093/biomet/
        26.4.404) (Clopper and Pearson, 1934).
    """
    from scipy import stats

    whole = all(isinstance(n, (int, np.integer)) for n in (errors, count))
    if not whole or not 0 <= errors <= count:
        raise ValueError(
            "`errors` must be a number of examples, from 0 to `count`. Received: "
            f"errors={errors}, count={count}"
        )
    check_share(level, "level")
    if errors == count:
        return 1.0
    return float(stats.beta.ppf(level, errors + 1, count - errors))


@keras.saving.register_keras_serializable(package="zoo")
class Selective(Decision):
    """Answers with the most probable class, or with no class at all.

    It answers where that class has at least a probability, which `adapt` learns: the
    smallest one that answers a twentieth, two twentieths, ... or all of the images, and
    of whose answers at most `risk` are wrong by `risk_bound`. The bound is that for
    twenty looks at once (Bonferroni), so with a probability of `level`, over the images
    adapted to, it holds for the share that was chosen.

    Args:
        risk: The largest share of answers that are wrong, in (0, 1).
        level: Probability that this holds, in (0, 1).
        seed: Unused, for nothing is drawn.

    Input shape: `(batch, num_classes)`, of probabilities.

    Output shape: Same as the input, of booleans, of which one or none is true.

    Reference:
        [Selective Classification for Deep Neural Networks](
        https://arxiv.org/abs/1705.08500) (Geifman and El-Yaniv, 2017), Lemma 3.1, with
        looks that are fixed beforehand in place of a search.
    """

    promises = "risk"
    takes_pixels = False

    def __init__(
        self,
        risk: float = 0.05,
        level: float = 0.95,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        self.risk = check_share(risk, "risk")
        self.level = check_share(level, "level")

    def scores(self, probs, noise, values):
        # LiteRT lacks an operator of Keras' `argmax`.
        first = ops.argsort(-probs, axis=-1)[:, :1]
        is_first = ops.arange(probs.shape[-1], dtype=first.dtype) == first
        return ops.where(is_first, -probs, 2.0)

    def fit(self, probs, labels, seed):
        confidence = probs.max(axis=1)
        order = np.argsort(-confidence, kind="stable")
        wrong = np.cumsum(probs[order].argmax(axis=1) != labels[order])
        falling, total = confidence[order], len(labels)
        level = 1 - (1 - self.level) / _NUM_LOOKS
        bounds = {}
        for look in range(_NUM_LOOKS, 0, -1):
            # Those above the next one: of these nothing else is known.
            border = falling[total * look // _NUM_LOOKS] if look < _NUM_LOOKS else -1.0
            count = int(np.count_nonzero(falling > border))
            if not count:
                continue
            bounds[count] = risk_bound(int(wrong[count - 1]), count, level)
            if bounds[count] <= self.risk:
                lowest = np.nextafter(np.float32(max(border, 0)), np.float32(1))
                threshold = np.full(probs.shape[1], -lowest if border >= 0 else 0.0)
                return {"threshold": threshold.astype("float32")}
        count, bound = min(bounds.items(), key=lambda pair: pair[1], default=(0, 1.0))
        raise NoBestFitError(
            f"No threshold promises that at most {self.risk:g} of the answers are "
            f"wrong: the smallest bound is {bound:.3g}, for the {count} most confident "
            f"of {total} images. Ask for less, or give more images. Received: "
            f"risk={self.risk}, level={self.level}"
        )

    def get_config(self):
        return {**super().get_config(), "level": self.level}
