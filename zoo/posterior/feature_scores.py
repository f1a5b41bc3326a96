"""Scores that say how unlike the features of an image are to those of the training.

A higher score means more out-of-distribution. What is computed of the training images
is a mapping of float32 arrays by name; scores that use the same name share it.
"""

import math
from collections.abc import Iterator

import numpy as np
from keras import ops

from zoo.posterior.examples import RandomSample

# The share of the mean variance that float32 resolves in any direction.
SMALLEST = 1e-8
# Numbers in the covariances of all classes: 1 GiB.
LARGEST_DENSITY = 2**28
# How many training images neighbors are looked for in, and which neighbor counts.
NUM_STORED, NEIGHBOR = 10_000, 10


class Statistics:
    """Sums over the features of the training images.

    Args:
        num_features: The number of features.
        num_classes: The number of classes.
        by_class: Whether the second moments of each class are needed by themselves.
        num_stored: How many images are kept, which are drawn of all.
        seed: Seed of these.
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        by_class: bool = True,
        num_stored: int = 0,
        seed: int = 0,
    ):
        self.counts = np.zeros(num_classes, int)
        self.stored = RandomSample(num_stored, seed)
        self._origin = None
        self._sums = np.zeros((num_classes, num_features))
        groups = num_classes if by_class else 1
        self._squares = np.zeros((groups, num_features, num_features))

    def add(self, features: np.ndarray, labels: np.ndarray):
        """Adds a batch.

        Args:
            features: float64 array of shape `(batch, num_features)`.
            labels: Integer array of shape `(batch,)`.
        """
        self.stored.add(features)
        if self._origin is None:  # Differences of squares lose fewer digits from here.
            self._origin = features.mean(axis=0)
        features = features - self._origin
        for label in np.unique(labels):
            rows = features[labels == label]
            self.counts[label] += len(rows)
            self._sums[label] += rows.sum(axis=0)
            self._squares[label if len(self._squares) > 1 else 0] += rows.T @ rows

    @property
    def means(self) -> np.ndarray:
        """The mean of each class, of shape `(num_classes, num_features)`."""
        return self._origin + self._sums / self.counts[:, None]

    def of_classes(self) -> Iterator[np.ndarray]:
        """Yields the covariance of each class, with `count - 1` as the divisor."""
        for count, sums, squares in zip(
            self.counts, self._sums, self._squares, strict=True
        ):
            yield (squares - np.outer(sums, sums) / count) / (count - 1)

    def within(self) -> np.ndarray:
        """Returns the covariance around the means of the classes."""
        between = (self._sums / self.counts[:, None]).T @ self._sums
        return (self._squares.sum(axis=0) - between) / self.counts.sum()

    def overall(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the mean and the covariance of all images."""
        count = self.counts.sum()
        mean = self._sums.sum(axis=0) / count
        covariance = self._squares.sum(axis=0) / count - np.outer(mean, mean)
        return self._origin + mean, covariance

    def inverse_root(self, covariance, what) -> tuple:
        """Returns the inverse root of a covariance, its log determinant, and jitter.

        Args:
            covariance: float64 array of shape `(num_features, num_features)`.
            what: What it is of, for an error.

        Returns:
            A matrix `R` with `R R^T` the inverse, and two numbers; the jitter is what
            was added to the diagonal.

        Raises:
            ValueError: If it is zero up to the rounding of float32.
        """
        values, vectors = np.linalg.eigh(covariance)
        mean, covariances = self.overall()
        of_features = np.mean(np.square(mean) + np.diag(covariances))
        if not values.mean() > np.finfo("float32").eps ** 2 * of_features:
            raise ValueError(
                f"The features {what} do not vary, so they have no density. Received: "
                f"a mean variance of {values.mean():.3g}"
            )
        jitter = max(SMALLEST * values.mean() - values[0], 0.0)
        values = values + jitter
        return vectors / np.sqrt(values), np.log(values).sum(), jitter


class FeatureScore:
    """Base class of scores of features.

    Args:
        num_features: The number of features.
        num_classes: The number of classes.
    """

    by_class = False  # Whether it needs the second moments of each class.
    num_stored = 0  # How many training images it needs themselves.
    num_needed = 1  # How many images of each class it needs.
    of_pixels = True  # Whether it takes little enough time for each pixel.

    def __init__(self, num_features: int, num_classes: int):
        self.num_features, self.num_classes = num_features, num_classes

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of what `solve` returns."""
        raise NotImplementedError

    def solve(self, statistics: Statistics) -> dict[str, np.ndarray]:
        """Returns what is kept of the training images, by name.

        Raises:
            ValueError: If there are too few images, or they are all alike.
        """
        raise NotImplementedError

    def score(self, features, values):
        """Returns the score of each image, of shape `(batch,)`.

        Args:
            features: float32 tensor of shape `(batch, num_features)`.
            values: What `solve` returned, or variables of these values.
        """
        raise NotImplementedError


class ClassDensity(FeatureScore):
    """Minus the log density of a mixture of one Gaussian for each class, in nats.

        -log sum over c of p_c N(z; mean_c, covariance_c)

    where `p_c` is the share of the class. A covariance with a direction of nearly no
    variance, as of fewer images than features, gets the smallest `jitter` on its
    diagonal with which float32 holds its inverse; all others get none.

    Reference:
        [Deep Deterministic Uncertainty](https://arxiv.org/abs/2102.11582) (Mukhoti et
        al., 2021), section 3.

    Raises:
        ValueError: If the covariances would take more than a gibibyte.
    """

    by_class = True
    num_needed = 2

    def __init__(self, num_features: int, num_classes: int):
        super().__init__(num_features, num_classes)
        if num_classes * num_features**2 > LARGEST_DENSITY:
            raise ValueError(
                f"The covariances of {num_classes} classes and {num_features} features "
                f"take {4 * num_classes * num_features**2 / 2**30:.3g} GiB; leave "
                'the score "density" out: "mahalanobis" has one covariance for all. '
                f"Received: num_classes={num_classes}, num_features={num_features}"
            )

    @property
    def shapes(self):
        classes, features = self.num_classes, self.num_features
        return {
            "class_means": (classes, features),
            "class_roots": (classes, features, features),
            "log_weights": (classes,),
            "jitter": (classes,),
        }

    def solve(self, statistics):
        roots, logs, jitters = [], [], []
        for number, covariance in enumerate(statistics.of_classes()):
            what = f"of class {number}, {statistics.counts[number]} images,"
            root, log_determinant, jitter = statistics.inverse_root(covariance, what)
            roots.append(root)
            logs.append(log_determinant)
            jitters.append(jitter)
        shares = statistics.counts / statistics.counts.sum()
        constant = self.num_features * math.log(2 * math.pi)
        return {
            "class_means": statistics.means,
            "class_roots": np.stack(roots),
            "log_weights": np.log(shares) - (np.array(logs) + constant) / 2,
            "jitter": np.array(jitters),
        }

    def score(self, features, values):
        centered = features[None] - ops.expand_dims(values["class_means"], 1)
        along = ops.matmul(centered, values["class_roots"])  # (classes, batch, d)
        squares = ops.sum(ops.square(along), axis=-1)
        logs = ops.expand_dims(values["log_weights"], 1) - squares / 2
        largest = ops.max(logs, axis=0)
        return -largest - ops.log(ops.sum(ops.exp(logs - largest), axis=0))


class Mahalanobis(FeatureScore):
    """The squared Mahalanobis distance to the nearest mean of a class.

    All classes have one covariance, that around their means. It is that of the last
    features alone, without the perturbation of images that its authors add.

    Reference:
        [A Simple Unified Framework for Detecting Out-of-Distribution Samples and
        Adversarial Attacks](https://arxiv.org/abs/1807.03888) (Lee et al., 2018),
        Eq. 2.
    """

    @property
    def shapes(self):
        size = self.num_features
        return {
            "class_means": (self.num_classes, size),
            "mean": (size,),
            "within_root": (size, size),
        }

    def solve(self, statistics):
        root, _, _ = statistics.inverse_root(
            statistics.within(), "around the means of classes"
        )
        mean, _ = statistics.overall()
        return {"class_means": statistics.means, "mean": mean, "within_root": root}

    def score(self, features, values):
        root, mean = values["within_root"], values["mean"]
        of_images = ops.matmul(features - mean, root)
        of_classes = ops.matmul(values["class_means"] - mean, root)
        products = ops.matmul(of_images, ops.transpose(of_classes))
        squares = ops.sum(ops.square(of_classes), axis=-1) - 2 * products
        # The distance to the mean of all is that of any class, so it comes last.
        return ops.sum(ops.square(of_images), axis=-1) + ops.min(squares, axis=-1)


class RelativeMahalanobis(Mahalanobis):
    """The Mahalanobis distance less that to a Gaussian of all images.

    Directions in which all images vary, of whatever class, then count less.

    Reference:
        [A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection](
        https://arxiv.org/abs/2106.09022) (Ren et al., 2021), section 2.2.
    """

    @property
    def shapes(self):
        size = self.num_features
        return {**super().shapes, "overall_root": (size, size)}

    def solve(self, statistics):
        _, covariance = statistics.overall()
        root, _, _ = statistics.inverse_root(covariance, "of all images")
        return {**super().solve(statistics), "overall_root": root}

    def score(self, features, values):
        along = ops.matmul(features - values["mean"], values["overall_root"])
        return super().score(features, values) - ops.sum(ops.square(along), axis=-1)


class NearestNeighbors(FeatureScore):
    """The distance to the tenth nearest of 10,000 training images, in [0, 2].

    Features are divided by their norm. Of fewer training images all are kept, of more a
    random sample.

    Reference:
        [Out-of-Distribution Detection with Deep Nearest Neighbors](
        https://arxiv.org/abs/2204.06507) (Sun et al., 2022), section 3.
    """

    num_stored = NUM_STORED
    of_pixels = False

    @property
    def shapes(self):
        return {"stored": (self.num_stored, self.num_features)}

    def solve(self, statistics):
        count = statistics.counts.sum()
        if count < NEIGHBOR:
            raise ValueError(
                f"The score is the distance to the neighbor of rank {NEIGHBOR} among "
                f"the training images, so there must be as many. Received: {count} "
                "images"
            )
        found = np.stack(statistics.stored.rows)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        stored = np.zeros(self.shapes["stored"])
        stored[: len(found)] = found / np.maximum(norms, 1e-30)
        return {"stored": stored}

    def score(self, features, values):
        stored = values["stored"]
        norms = ops.sqrt(ops.sum(ops.square(features), axis=-1, keepdims=True))
        units = features / ops.maximum(norms, 1e-30)
        cosines = ops.matmul(units, ops.transpose(stored))
        # Rows of zeros are those of fewer images; none is further away than these.
        is_image = ops.sum(ops.square(stored), axis=-1) > 0.5
        cosines = ops.where(is_image, cosines, -1.0)
        nearest = ops.top_k(cosines, NEIGHBOR)[0][:, -1]
        return ops.sqrt(ops.maximum(2 - 2 * nearest, 0))


# The scores of `zoo.posterior.Density` by name.
FEATURE_SCORES = {
    "density": ClassDensity,
    "mahalanobis": Mahalanobis,
    "relative_mahalanobis": RelativeMahalanobis,
    "nearest_neighbors": NearestNeighbors,
}
