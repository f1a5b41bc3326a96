"""Split conformal prediction: sets of classes that cover the label as often as asked.

A score says how little a class fits an image. Of `n` labeled images that are new to the
model, the threshold is the score of their labels with the rank

    ceil((n + 1) * coverage)

from the smallest on. If these images and a further one might as well have come in any
other order, the score of its label has any rank among the `n + 1` with the same
probability, so it is at most the threshold with a probability of at least `coverage`,
and, where no scores are equal, of less than `coverage + 1 / (n + 1)`. That is the
probability over the images adapted to as well as the further one.

With a label for each pixel, an example is an image still, for its pixels are alike. The
share of its labeled pixels whose sets miss the label is its loss, which falls as the
threshold rises, and the threshold is the smallest one with

    sum over the n images of their loss + 1 <= (n + 1) * (1 - coverage)

The expected loss of a further image is then at most `1 - coverage`. For each class the
loss is the share of its pixels in an image whose sets miss it, over the images with
some: the expected false-negative rate. Images of one pixel each have the rank above.

Reference:
    [Algorithmic Learning in a Random World](https://doi.org/10.1007/b106715) (Vovk et
    al., 2005); [Inductive Confidence Machines](https://doi.org/10.1007/3-540-36755-1_29)
    (Papadopoulos et al., 2002). Of pixels: [Conformal Risk Control](
    https://arxiv.org/abs/2208.02814) (Angelopoulos et al., 2022), Theorem 1.
"""

import bisect
import math
from collections.abc import Sequence
from fractions import Fraction

import keras
import numpy as np
from keras import ops

import layers
from zoo import arrays
from zoo.conformal.decision import Decision, check_share
from zoo.posterior.maps import as_rows, some_pixels


def threshold_rank(coverage: float, count: int) -> int:
    """Returns the rank of the threshold among scores, from 1 for the smallest on.

    It is computed from the decimal digits of `coverage`: in binary, 0.9 of ten is more
    than nine.

    Args:
        coverage: In (0, 1).
        count: The number of scores.

    Returns:
        `ceil((count + 1) * coverage)`, which is `count + 1` for too few.

    Example:

    >>> threshold_rank(0.9, 9), threshold_rank(0.9, 10), threshold_rank(0.9, 8)
    (9, 10, 9)
    """
    return math.ceil(Fraction(repr(float(coverage))) * (count + 1))


def quantile(
    scores: np.ndarray | Sequence[np.ndarray], coverage: float, of: str = ""
) -> float:
    """Returns the score with the rank of the threshold.

    Args:
        scores: Array of shape `(images,)`: of each image that of its label; or a list
            with an array of those of its pixels for each image.
        coverage: In (0, 1).
        of: What images these are, for an error.

    Raises:
        ValueError: If there are too few scores for the coverage.
    """
    rank = threshold_rank(coverage, len(scores))
    if rank > len(scores):
        share = Fraction(repr(float(coverage)))
        least = math.ceil(share / (1 - share))
        raise ValueError(
            f"A coverage of {coverage:g} takes {least} labeled images{of} at least: "
            "with fewer, only the set of all classes has it. Received: "
            f"{len(scores)} images{of}"
        )
    if isinstance(scores, np.ndarray):
        return np.partition(scores, rank - 1)[rank - 1]
    return _of_pixels(scores, Fraction(repr(float(coverage))))


def _of_pixels(scores, coverage):
    """Returns the smallest score up to which images are covered as they must be."""
    ascending = [np.sort(own) for own in scores]
    needed, found = coverage * (len(scores) + 1), np.sort(np.concatenate(scores))

    def is_enough(threshold):
        inside = {}  # By the number of the pixels of an image.
        for own in ascending:
            count = int(np.searchsorted(own, threshold, side="right"))
            inside[len(own)] = inside.get(len(own), 0) + count
        more = math.fsum(n / size for size, n in inside.items()) - float(needed)
        if abs(more) > _ROUNDING * len(scores):
            return more > 0
        return sum(Fraction(n, size) for size, n in inside.items()) >= needed

    return found[bisect.bisect_left(found, True, key=is_enough)]


_ROUNDING = (
    1e-12  # Of the covered share of an image; what is nearer is counted exactly.
)


def by_image(scores: np.ndarray, chosen: np.ndarray):
    """Returns the chosen scores as `quantile` takes them.

    Args:
        scores: Array of shape `(images,)`, or `(images, height, width)`.
        chosen: Booleans of that shape.
    """
    if scores.ndim == 1:
        return scores[chosen]
    pairs = zip(scores, chosen, strict=True)
    return [own[here] for own, here in pairs if here.any()]


class SplitConformal(Decision):
    """Base class of prediction sets, which implement `scores`.

    Args:
        coverage: The probability that a set has the label in it, in (0, 1); of pixels,
            the expected share of the labeled ones of an image whose sets have it.
        class_conditional: Whether it is promised for the images, or pixels, of each
            class, rather than for all together. Each class then needs as many labeled
            images.
        seed: Makes the draws reproducible.

    Input shape: `(batch, num_classes)`, of probabilities, or `(batch, height, width,
    num_classes)`.

    Output shape: Same as the input, of booleans.
    """

    promises = "coverage"
    modifiers = {"class": "class_conditional"}

    def __init__(
        self,
        coverage: float = 0.9,
        class_conditional: bool = False,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        self.coverage = check_share(coverage, "coverage")
        self.class_conditional = bool(class_conditional)

    def fit(self, probs, labels, seed):
        return {"threshold": self.thresholds(probs, labels, {}, seed)}

    def thresholds(self, probs, labels, values, seed: int) -> np.ndarray:
        """Returns the threshold of each class, of shape `(num_classes,)`.

        Raises:
            ValueError: If there are too few images for the coverage.
        """
        scores = self.scores_of(probs, labels, values, seed)
        num_classes = probs.shape[-1]
        if not self.class_conditional:
            known = by_image(scores, labels != arrays.UNLABELED)
            return np.full(num_classes, quantile(known, self.coverage))
        of_classes = (by_image(scores, labels == k) for k in range(num_classes))
        found = [
            quantile(own, self.coverage, f" of class {k}")
            for k, own in enumerate(of_classes)
        ]
        return np.array(found, "float32")

    def get_config(self):
        config = {"class_conditional": self.class_conditional}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="zoo")
class LAC(SplitConformal):
    """Sets of all classes whose probability is at least a threshold.

    The score of a class is its probability, negative. These are the smallest sets on
    average if the probabilities are right; where they are far from it, some images have
    empty sets and hard ones small sets.

    Args:
        coverage: The probability that a set has the label in it, in (0, 1).
        class_conditional: Whether it is promised for the images of each class.
        seed: Unused, for nothing is drawn.

    Input shape: `(batch, num_classes)`, of probabilities.

    Output shape: Same as the input, of booleans.

    Example:

    >>> decision = LAC(coverage=0.5)
    >>> decision.adapt([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5], [0.1, 0.6, 0.3]], [0, 1, 1])
    >>> ops.convert_to_numpy(decision(ops.array([[0.61, 0.39, 0.0]]))).tolist()
    [[True, False, False]]

    Reference:
        [Least Ambiguous Set-Valued Classifiers with Bounded Error Levels](
        https://arxiv.org/abs/1609.00451) (Sadinle et al., 2019), Eq. 4, whose score is
        one less the probability.
    """

    def scores(self, probs, noise, values):
        return -probs


@keras.saving.register_keras_serializable(package="zoo")
class APS(SplitConformal):
    """Sets of the most probable classes up to a threshold on their mass.

    The score of a class is the mass of the more probable ones; of equally probable
    classes the first one counts as more probable. A set thus ends with the class that
    reaches the threshold. Hard images have larger sets, and none is empty, so a model
    that is right more often than `coverage` covers that much more. With `randomized`,
    a share of the probability of the class itself is added, drawn for each image: that
    covers neither more nor less, but some sets are empty.

    Args:
        coverage: The probability that a set has the label in it, in (0, 1).
        randomized: Whether to draw at the border of each set.
        class_conditional: Whether it is promised for the images of each class.
        seed: Makes the draws reproducible.

    Input shape: `(batch, num_classes)`, of probabilities.

    Output shape: Same as the input, of booleans.

    Reference:
        [Classification with Valid and Adaptive Coverage](
        https://arxiv.org/abs/2006.02544) (Romano et al., 2020), Eqs. 4 and 6 to 8.
    """

    modifiers = {**SplitConformal.modifiers, "randomized": "randomized"}

    def __init__(
        self,
        coverage: float = 0.9,
        randomized: bool = False,
        class_conditional: bool = False,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(coverage, class_conditional, seed, **kwargs)
        self.randomized = bool(randomized)

    @property
    def draws(self) -> bool:
        return self.randomized

    def scores(self, probs, noise, values):
        order = ops.argsort(-probs, axis=-1)
        ordered = ops.take_along_axis(probs, order, axis=-1)
        scores = ops.cumsum(ordered, axis=-1) - ordered
        if noise is not None:
            scores = scores + noise * ordered
        if "penalties" in values:
            scores = scores + ops.convert_to_tensor(values["penalties"])
        return ops.take_along_axis(scores, ops.argsort(order, axis=-1), axis=-1)

    def get_config(self):
        return {**super().get_config(), "randomized": self.randomized}


@keras.saving.register_keras_serializable(package="zoo")
class RAPS(APS):
    """APS with a penalty for every class behind the first few, for smaller sets.

    The score of the class with rank `r`, from 1 on, is that of `APS` plus

        penalty * max(0, r - num_free)

    What is not given is chosen on 30 % of the labeled images, which then are not among
    those of the threshold: `num_free` is the rank that has `coverage` of the labels at
    or before it, and `penalty` the one of 0.001, 0.01, 0.1, 0.2 and 0.5 with the
    smallest sets.

    Args:
        coverage: The probability that a set has the label in it, in (0, 1).
        randomized: Whether to draw at the border of each set.
        class_conditional: Whether it is promised for the images of each class.
        penalty: Mass by which each further class costs more; not negative.
        num_free: How many of the most probable classes cost nothing.
        seed: Makes the draws reproducible.

    Input shape: `(batch, num_classes)`, of probabilities.

    Output shape: Same as the input, of booleans.

    Reference:
        [Uncertainty Sets for Image Classifiers using Conformal Prediction](
        https://arxiv.org/abs/2009.14193) (Angelopoulos et al., 2021), Eq. 4 and
        Appendix E.
    """

    adapted_weights = ("threshold", "penalties")

    def __init__(
        self,
        coverage: float = 0.9,
        randomized: bool = False,
        class_conditional: bool = False,
        penalty: float | None = None,
        num_free: int | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(coverage, randomized, class_conditional, seed, **kwargs)
        is_number = layers.checks.is_number(penalty)
        if penalty is not None and not (is_number and 0 <= penalty < math.inf):
            raise ValueError(
                f"`penalty` must not be negative. Received: penalty={penalty}"
            )
        if num_free is not None:
            layers.checks.check_count(num_free, "num_free")
        self.penalty, self.num_free = penalty, num_free

    def fit(self, probs, labels, seed):
        if None in (self.penalty, self.num_free):
            order = np.random.default_rng(seed).permutation(len(labels))
            cut = round(_TUNED_ON * len(labels))
            chosen, rest = order[:cut], order[cut:]
            some = as_rows(*some_pixels(probs[chosen], labels[chosen]))
            known = some[1] != arrays.UNLABELED
            penalties = self._tuned(some[0][known], some[1][known], seed)
            probs, labels = probs[rest], labels[rest]
        else:
            penalties = _penalties(self.penalty, self.num_free, probs.shape[-1])
        values = {"penalties": penalties}
        return {"threshold": self.thresholds(probs, labels, values, seed), **values}

    def _tuned(self, probs, labels, seed):
        count, num_free = probs.shape[1], self.num_free
        if num_free is None:
            order = np.argsort(-probs, axis=1, kind="stable")
            ranks = 1 + np.argmax(order == labels[:, None], axis=1)
            num_free = int(quantile(ranks, self.coverage, " to tune by"))
        given = _PENALTIES if self.penalty is None else (self.penalty,)
        found = [_penalties(penalty, num_free, count) for penalty in given]
        return min(found, key=lambda p: self._mean_size(probs, labels, p, seed))

    def _mean_size(self, probs, labels, penalties, seed):
        """Returns the mean size of the sets for some penalties."""
        values = {"penalties": penalties}
        scores = self.scores_of(probs, labels, values, seed)
        threshold = quantile(scores, self.coverage, " to tune by")
        sizes = (np.sum(s <= threshold) for s in self.all_scores(probs, values, seed))
        return sum(sizes) / len(probs)

    def get_config(self):
        config = {"penalty": self.penalty, "num_free": self.num_free}
        return {**super().get_config(), **config}


def _penalties(penalty, num_free, num_classes):
    """Returns that of each rank."""
    behind = np.maximum(np.arange(1, num_classes + 1) - num_free, 0)
    return (penalty * behind).astype("float32")


_TUNED_ON = 0.3  # The share of the images that RAPS is tuned on.
_PENALTIES = 0.001, 0.01, 0.1, 0.2, 0.5
