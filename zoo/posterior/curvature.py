"""Curvature of the cross-entropy in the weights of a dense layer.

It is the generalized Gauss-Newton matrix of labeled images, which for the last layer is
the Hessian,

    H = sum over images of (diag(p) - p p^T) kron (x x^T)

with probabilities `p`, and features `x` with a 1 behind them for the bias. Each class
here keeps it, or an approximation, as eigenvalues and an orthogonal basis, so that the
precision of a Gaussian prior is added to all of it exactly, and its determinant and its
inverse are known for any prior. It is summed in float64.

In what they predict, `values` are arrays or tensors by name: those of `solve`, and a
scalar `prior_precision`. Logits are linear in the weights, so theirs have a Gaussian
distribution too, whose covariance needs no Jacobian.
"""

import numpy as np
from keras import ops

LARGEST_FULL = 8192  # Weights; a matrix of so many rows is 512 MiB, and a minute.


class Curvature:
    """Base class of the structures, of one dense layer.

    Args:
        num_features: Inputs of the layer.
        num_classes: Outputs of the layer.
        has_bias: Whether the layer has a bias.
    """

    def __init__(self, num_features: int, num_classes: int, has_bias: bool):
        self.num_features = num_features
        self.num_classes = num_classes
        self.has_bias = has_bias
        self.count = 0
        self._sums = None

    @property
    def num_rows(self) -> int:
        """The number of features, and one for the bias if there is one."""
        return self.num_features + self.has_bias

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of what `solve` returns."""
        raise NotImplementedError

    @property
    def num_normals(self) -> int:
        """How many standard normals `draw` takes for a sample of an image."""
        return self.num_classes

    def add(self, features: np.ndarray, probs: np.ndarray):
        """Adds a batch.

        Args:
            features: float64 array of shape `(batch, num_features)`.
            probs: float64 array of shape `(batch, num_classes)`.
        """
        new = self._of_batch(features, probs)
        self.count += len(features)
        if self._sums is None:
            self._sums = new
            return
        for total, of_batch in zip(self._sums, new, strict=True):
            np.add(total, of_batch, out=total)

    def solve(self) -> dict[str, np.ndarray]:
        """Returns `curvature`, the eigenvalues, and bases, of what was added."""
        raise NotImplementedError

    def variance(self, features, values):
        """Returns the variance of each logit, of shape `(batch, num_classes)`.

        Args:
            features: float32 tensor of shape `(batch, num_features)`.
            values: See the module.
        """
        raise NotImplementedError

    def zero_sum(self, features, values):
        """Returns what is left of the distribution if the logits sum to zero.

        Returns:
            The part of their sum that is taken off each logit, which broadcasts with
            the logits, and the variance that it then has, as `variance`.
        """
        raise NotImplementedError

    def draw(self, features, values, normals):
        """Returns draws of the logits minus their mean.

        They are those by the symmetric square root of a covariance, which does not
        depend on the signs of eigenvectors, nor on which ones equal eigenvalues have.

        Args:
            features: As in `variance`.
            values: See the module.
            normals: Standard normals of shape `(batch, samples, num_normals)`.

        Returns:
            Tensor of shape `(batch, samples, num_classes)`.
        """
        raise NotImplementedError

    def _of_batch(self, features, probs):
        """Returns the sums over a batch; `_sums` are those over all."""
        raise NotImplementedError

    def _inverse(self, features, values):
        """Returns sums of squared features times the variances of weights."""
        variances = 1 / (values["curvature"] + values["prior_precision"])
        found = ops.matmul(ops.square(features), variances[: self.num_features])
        return found + variances[-1] if self.has_bias else found


class Kronecker(Curvature):
    """A Kronecker product `A kron G`, and `G` for the bias.

    `A` is the mean of `x x^T`, and `G` the sum of `diag(p) - p p^T`. Where `A` has the
    eigenvectors `u` and `G` the eigenvectors `v`, the logits of features `x` have the
    covariance

        sum over k of v_k v_k^T (sum over i of (u_i^T x)^2 / (a_i g_k + prior))

    so it takes memory for `A`, `G` and as many numbers as there are weights, and none
    for a Jacobian.

    Reference:
        [A Scalable Laplace Approximation for Neural Networks](
        https://openreview.net/forum?id=Skdvd2xAZ) (Ritter et al., 2018); [Laplace
        Redux](https://arxiv.org/abs/2106.14806) (Daxberger et al., 2021).
    """

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            "curvature": (self.num_rows, self.num_classes),
            "feature_basis": (self.num_features, self.num_features),
            "class_basis": (self.num_classes, self.num_classes),
        }

    def solve(self) -> dict[str, np.ndarray]:
        of_features, of_classes = self._sums
        a, feature_basis = eigen(of_features / self.count)
        g, class_basis = eigen(of_classes)
        rows = np.append(a, 1.0) if self.has_bias else a
        return {
            "curvature": np.outer(rows, g),
            "feature_basis": feature_basis,
            "class_basis": class_basis,
        }

    def variance(self, features, values):
        scales = self._scales(features, values)
        return ops.matmul(scales, ops.transpose(ops.square(values["class_basis"])))

    def zero_sum(self, features, values):
        # No probability depends on the mean of the logits, so it is an eigenvector,
        # with the variance of the prior: the difference of two such ones would be lost.
        basis = values["class_basis"]
        centered = ops.square(basis - ops.mean(basis, axis=0, keepdims=True))
        scales = self._scales(features, values)
        return 1 / self.num_classes, ops.matmul(scales, ops.transpose(centered))

    def draw(self, features, values, normals):
        deviations = ops.sqrt(self._scales(features, values))
        basis = values["class_basis"]
        along = ops.matmul(normals, basis) * deviations[:, None]
        return ops.matmul(along, ops.transpose(basis))

    def _of_batch(self, features, probs):
        of_classes = np.diag(probs.sum(axis=0)) - probs.T @ probs
        return features.T @ features, of_classes

    def _scales(self, features, values):
        """Returns the variances along the class basis."""
        return self._inverse(ops.matmul(features, values["feature_basis"]), values)


class Diagonal(Curvature):
    """The diagonal: each weight by itself."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"curvature": (self.num_rows, self.num_classes)}

    def solve(self) -> dict[str, np.ndarray]:
        return {"curvature": self._sums[0]}

    def variance(self, features, values):
        return self._inverse(features, values)

    def zero_sum(self, features, values):
        variance = self._inverse(features, values)
        part = variance / ops.sum(variance, axis=-1, keepdims=True)
        return part, variance * (1 - part)

    def draw(self, features, values, normals):
        return normals * ops.sqrt(self._inverse(features, values))[:, None]

    def _of_batch(self, features, probs):
        rows = _with_one(features) if self.has_bias else features
        return [np.square(rows).T @ (probs * (1 - probs))]


class Full(Curvature):
    """All of the matrix, for layers of up to some thousand weights.

    Weight `(i, k)`, from feature `i` to class `k`, is row `i * num_classes + k`; those
    of the bias are the last ones.

    Raises:
        ValueError: If the layer has too many weights.
    """

    def __init__(self, num_features: int, num_classes: int, has_bias: bool):
        size = (num_features + has_bias) * num_classes
        if size > LARGEST_FULL:
            raise ValueError(
                f"A full covariance is for up to {LARGEST_FULL:,} weights, and of this "
                f"layer it would take {8 * size**2 / 2**30:.3g} GiB; take "
                'structure="kronecker". Received: structure=full, '
                f"{num_features} features, {num_classes} classes"
            )
        super().__init__(num_features, num_classes, has_bias)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        size = self.num_rows * self.num_classes
        return {"curvature": (size,), "basis": (size, size)}

    @property
    def num_normals(self) -> int:
        return self.shapes["curvature"][0]

    def solve(self) -> dict[str, np.ndarray]:
        by_class, outer = self._sums
        rows, classes = self.num_rows, self.num_classes
        matrix = -outer.reshape(rows, classes, rows, classes)
        matrix[:, np.arange(classes), :, np.arange(classes)] += by_class
        curvature, basis = eigen(matrix.reshape(outer.shape))
        return {"curvature": curvature, "basis": basis}

    def variance(self, features, values):
        return ops.sum(ops.square(self._root(features, values)), axis=-1)

    def zero_sum(self, features, values):
        root = self._root(features, values)
        centered = root - ops.mean(root, axis=1, keepdims=True)
        return 1 / self.num_classes, ops.sum(ops.square(centered), axis=-1)

    def draw(self, features, values, normals):
        root = self._root(features, values)
        along = ops.matmul(normals, values["basis"])
        return ops.matmul(along, ops.transpose(root, (0, 2, 1)))

    def _of_batch(self, features, probs):
        rows = _with_one(features) if self.has_bias else features
        by_class = np.matmul(rows.T * probs.T[:, None], rows)
        outer = (rows[:, :, None] * probs[:, None]).reshape(len(rows), -1)
        return by_class, outer.T @ outer

    def _root(self, features, values):
        """Returns a matrix for each image whose square is the covariance."""
        (size,), classes = self.shapes["curvature"], self.num_classes
        by_feature = ops.reshape(values["basis"], (-1, classes * size))
        product = ops.matmul(features, by_feature[: self.num_features])
        product = product + by_feature[-1] if self.has_bias else product
        variances = 1 / (values["curvature"] + values["prior_precision"])
        return ops.reshape(product, (-1, classes, size)) * ops.sqrt(variances)


def log_evidence(log_likelihood, curvature, prior_precision, square_norm) -> float:
    """Returns the logarithm of the marginal likelihood, by Laplace's approximation.

        log p(labels | weights)
            - (log det(H + prior) - log det(prior) + prior |weights|^2) / 2

    Args:
        log_likelihood: That of the labels at the weights, a sum, in nats.
        curvature: Eigenvalues of the curvature H, an array of any shape.
        prior_precision: Inverse of the variance of each weight before.
        square_norm: Sum of the squares of the weights.

    Reference:
        [Laplace Redux](https://arxiv.org/abs/2106.14806) (Daxberger et al., 2021).
    """
    ratio = np.log1p(np.asarray(curvature, "float64") / prior_precision).sum()
    return float(log_likelihood - (ratio + prior_precision * square_norm) / 2)


def best_prior_precision(curvature, square_norm: float) -> float | None:
    """Returns the prior precision of the largest `log_evidence`; None if none is best.

    There the number of weights that the data determine, the sum of `curvature /
    (curvature + prior)`, is `prior |weights|^2`. The first falls as the prior grows and
    the second rises, so there is one such place, and halves of an interval find it.

    Args:
        curvature: Eigenvalues, an array of any shape.
        square_norm: Sum of the squares of the weights.

    Reference:
        [Bayesian Interpolation](https://doi.org/10.1162/neco.1992.4.3.415) (MacKay,
        1992).
    """
    curvature = np.asarray(curvature, "float64").ravel()
    low, high = PRIOR_RANGE

    def excess(prior):
        return np.sum(curvature / (curvature + prior)) - prior * square_norm

    if not (excess(low) > 0 > excess(high)):
        return None
    while high / low > 1 + 1e-12:
        middle = np.sqrt(low * high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return float(np.sqrt(low * high))


PRIOR_RANGE = 1e-6, 1e10  # Of the prior precisions to choose from.


def _with_one(features):
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def eigen(matrix):
    """Returns the eigenvalues of a covariance, and its eigenvectors as columns."""
    values, vectors = np.linalg.eigh(matrix)
    return np.maximum(values, 0), vectors  # Rounding makes some negative.


# By the value of `structure` of a Laplace approximation.
STRUCTURES = {"kronecker": Kronecker, "diagonal": Diagonal, "full": Full}
