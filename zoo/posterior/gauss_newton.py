"""The generalized Gauss-Newton matrix of several layers of a network.

It is the curvature of the cross-entropy of labeled images in the weights, where the
network is replaced by its linearization,

    H = sum over images of J^T (diag(p) - p p^T) J

with probabilities `p`, and the Jacobian `J` of the logits by the weights. The weights
are the kernels and biases of dense layers and convolutions. Logits of the linearized
network have a Gaussian distribution, with the logits of the network as its mean and
the covariance `J (H + prior)^-1 J^T`.

Each structure here keeps `H`, or an approximation, as eigenvalues and an orthogonal
basis, as those of `zoo.posterior.curvature` do for the last layer alone. Its sums are
of float32 within a few images, and of float64 over all.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from zoo.posterior import graph_split
from zoo.posterior.curvature import LARGEST_FULL, eigen


class GaussNewton:
    """Base class of the structures, of some layers.

    Args:
        linear: The layers, of a `zoo.posterior.graph_split.LinearLayers`.
        count: The number of weights that are chosen among those of the layers, if not
            all.

    A block is a part of the weights that is independent of the others. In what they
    compute, `values` are arrays or tensors by name, those of `solve`.
    """

    def __init__(self, linear: Sequence[keras.Layer], count: int | None = None):
        self.linear = linear
        self.count = count

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of what `solve` returns: eigenvalues `curvature...` and bases."""
        raise NotImplementedError

    def sums(self, pairs, values) -> list:
        """Returns sums over some images, as tensors.

        Args:
            pairs: As `LinearLayers.pull_back` returns them for the sums of `roots`.
            values: What is known before: the `indices` of weights, if some are chosen.
        """
        raise NotImplementedError

    def solve(self, sums: list[np.ndarray], count: int) -> dict[str, np.ndarray]:
        """Returns eigenvalues and bases.

        Args:
            sums: Sums over all images, of float64.
            count: The number of images.
        """
        raise NotImplementedError

    def blocks(self, pairs, values) -> list[tuple]:
        """Returns the Jacobian along the basis, and the eigenvalues, of each block.

        Args:
            pairs: As `LinearLayers.pull_back` returns them.
            values: See the class.

        Returns:
            Pairs of tensors of shapes `(batch, sums, weights)` and `(weights,)`.
        """
        raise NotImplementedError


class Kronecker(GaussNewton):
    """A Kronecker product `A kron G` for each kernel, and `G` for its bias.

    `A` is the mean of `x x^T` over images and positions, with the inputs `x`, and `G`
    the sum of `g g^T` over them and over roots of `diag(p) - p p^T`, with the gradients
    `g` by the outputs. It is exact for one image and a layer with one position.

    Reference:
        [Optimizing Neural Networks with Kronecker-factored Approximate Curvature](
        https://arxiv.org/abs/1503.05671) (Martens and Grosse, 2015); [A
        Kronecker-factored Approximate Fisher Matrix for Convolution Layers](
        https://arxiv.org/abs/1602.01407) (Grosse and Martens, 2016), Theorem 1, for
        convolutions.
    """

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        found = {}
        for number, layer in enumerate(self.linear):
            inputs, outputs = _sizes(layer)
            found[f"curvature_{number}"] = (inputs + layer.use_bias, outputs)
            found[f"input_basis_{number}"] = (inputs, inputs)
            found[f"output_basis_{number}"] = (outputs, outputs)
        return found

    def sums(self, pairs, values) -> list:
        found = []
        for layer, (x, gradients) in zip(self.linear, pairs, strict=True):
            rows = graph_split.rows(layer, x)
            positions = ops.cast(ops.shape(rows)[1], "float32")
            found += [_square(rows) / positions, _square(gradients)]
        return found

    def solve(self, sums: list[np.ndarray], count: int) -> dict[str, np.ndarray]:
        found, pairs = {}, zip(sums[::2], sums[1::2], strict=True)
        for number, (layer, (of_x, of_gradients)) in enumerate(
            zip(self.linear, pairs, strict=True)
        ):
            a, input_basis = eigen(of_x / count)
            g, output_basis = eigen(of_gradients)
            rows = np.append(a, 1.0) if layer.use_bias else a
            found[f"curvature_{number}"] = np.outer(rows, g)
            found[f"input_basis_{number}"] = input_basis
            found[f"output_basis_{number}"] = output_basis
        return found

    def blocks(self, pairs, values) -> list[tuple]:
        found = []
        for number, layer in enumerate(self.linear):
            x, gradients = pairs[number]
            x = graph_split.rows(layer, x, values[f"input_basis_{number}"])
            gradients = ops.matmul(gradients, values[f"output_basis_{number}"])
            curvature = values[f"curvature_{number}"]
            inputs = x.shape[-1]
            found.append(
                (_products(x, gradients), ops.reshape(curvature[:inputs], (-1,)))
            )
            if layer.use_bias:
                found.append((ops.sum(gradients, axis=1), curvature[-1]))
        return found


class Diagonal(GaussNewton):
    """The diagonal: each weight by itself."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        names = [f"curvature_{number}" for number in range(len(self.linear))]
        return {
            name: (_sizes(layer)[0] + layer.use_bias, _sizes(layer)[1])
            for name, layer in zip(names, self.linear, strict=True)
        }

    def sums(self, pairs, values) -> list:
        found = []
        for layer, pair in zip(self.linear, pairs, strict=True):
            jacobian = ops.concatenate(_jacobians(layer, pair), axis=-1)
            squares = ops.sum(ops.square(jacobian), axis=(0, 1))
            found.append(ops.reshape(squares, (-1, _sizes(layer)[1])))
        return found

    def solve(self, sums: list[np.ndarray], count: int) -> dict[str, np.ndarray]:
        return dict(zip(self.shapes, sums, strict=True))

    def blocks(self, pairs, values) -> list[tuple]:
        found = []
        for number, (layer, pair) in enumerate(zip(self.linear, pairs, strict=True)):
            curvature = values[f"curvature_{number}"]
            kernel, *bias = _jacobians(layer, pair)
            inputs = _sizes(layer)[0]
            found.append((kernel, ops.reshape(curvature[:inputs], (-1,))))
            found += [(jacobian, curvature[-1]) for jacobian in bias]
        return found


class Full(GaussNewton):
    """All of the matrix, for up to some thousand weights, or those chosen by `indices`.

    The weights are those of each layer, its kernel as one row and its bias behind it.

    Raises:
        ValueError: If there are too many weights.
    """

    def __init__(self, linear: Sequence[keras.Layer], count: int | None = None):
        super().__init__(linear, count)
        self.size = num_weights(linear) if count is None else count
        if self.size > LARGEST_FULL:
            raise ValueError(
                f"A full covariance is for up to {LARGEST_FULL:,} weights, and for "
                f"these it would take {8 * self.size**2 / 2**30:.3g} GiB; take a "
                'smaller `subnetwork`, or structure="kronecker". Received: '
                f"structure=full, {self.size} weights"
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"curvature": (self.size,), "basis": (self.size, self.size)}

    def sums(self, pairs, values) -> list:
        return [_square(self._jacobian(pairs, values))]

    def solve(self, sums: list[np.ndarray], count: int) -> dict[str, np.ndarray]:
        curvature, basis = eigen(sums[0])
        return {"curvature": curvature, "basis": basis}

    def blocks(self, pairs, values) -> list[tuple]:
        jacobian = ops.matmul(self._jacobian(pairs, values), values["basis"])
        return [(jacobian, values["curvature"])]

    def _jacobian(self, pairs, values):
        found = []
        for layer, pair in zip(self.linear, pairs, strict=True):
            found += _jacobians(layer, pair)
        found = ops.concatenate(found, axis=-1)
        return found if self.count is None else ops.take(found, values["indices"], -1)


class LogitCovariance:
    """The covariance of Gaussian logits, in a basis whose last vector is their mean.

    No probability depends on the mean of the logits, which may vary far more than
    their differences.

    Args:
        matrix: Tensor of shape `(batch, num_classes, num_classes)`: the covariance
            between left and right of products with `basis`.
    """

    def __init__(self, matrix):
        self._matrix = matrix
        self.num_normals = matrix.shape[-1]
        self._basis = ops.convert_to_tensor(basis(self.num_normals))

    def variance(self):
        """Returns the variance of each logit, of shape `(batch, num_classes)`."""
        left = ops.matmul(self._basis, self._matrix)
        return ops.sum(left * self._basis, axis=-1)

    def zero_sum(self):
        """Returns what is left if the logits sum to zero; see `Curvature.zero_sum`."""
        count = self.num_normals
        differences = self._basis[:, :-1]
        left = ops.matmul(differences, self._matrix[:, :-1, :-1])
        variance = ops.sum(left * differences, axis=-1)
        with_mean = ops.matmul(self._matrix[:, -1, :-1], ops.transpose(differences))
        of_mean = self._matrix[:, -1, -1:]
        part = with_mean / of_mean / count**0.5 + 1 / count
        return part, variance - ops.square(with_mean) / of_mean

    def draw(self, normals):
        """Returns draws of the logits minus their mean.

        Args:
            normals: Standard normals of shape `(batch, samples, num_normals)`.
        """
        # Of the correlations, so that the mean does not drown the differences; the
        # symmetric root does not depend on the signs of eigenvectors.
        scales = ops.sqrt(ops.diagonal(self._matrix, axis1=-2, axis2=-1))
        scales = ops.maximum(scales, 1e-30)
        outer = scales[:, :, None] * scales[:, None]
        eigenvalues, vectors = ops.linalg.eigh(self._matrix / outer)
        roots = vectors * ops.sqrt(ops.maximum(eigenvalues, 0))[:, None]
        root = ops.matmul(roots, ops.transpose(vectors, (0, 2, 1)))
        along = ops.matmul(normals, root) * scales[:, None]
        return ops.matmul(along, ops.transpose(self._basis))


def basis(num_classes: int) -> np.ndarray:
    """Returns an orthogonal float32 matrix whose last column has equal entries."""
    start = np.eye(num_classes)
    start[:, 0] = 1
    found, _ = np.linalg.qr(start)
    return (np.roll(found, -1, axis=1) * np.sign(found[0, 0])).astype("float32")


def roots(logits):
    """Returns roots of `diag(p) - p p^T` for `LinearLayers.pull_back`.

    Args:
        logits: Tensor of shape `(batch, num_classes)`.

    Returns:
        Tensor of shape `(num_classes, batch, num_classes)`; the sum over the first axis
        of outer products is the matrix.
    """
    probs = ops.softmax(logits)
    differences = ops.eye(logits.shape[-1])[:, None] - probs[None]
    return differences * ops.sqrt(ops.transpose(probs))[:, :, None]


def covariance(blocks, prior_precision):
    """Returns the covariance of sums of logits, `(batch, sums, sums)`.

    Args:
        blocks: Those of a structure.
        prior_precision: Scalar.
    """
    total = 0
    for jacobian, curvature in blocks:
        scaled = jacobian * ops.rsqrt(curvature + prior_precision)
        total = total + ops.matmul(scaled, ops.transpose(scaled, (0, 2, 1)))
    return total


def num_weights(linear: Sequence[keras.Layer]) -> int:
    """Returns how many weights some layers have."""
    return sum((_sizes(x)[0] + x.use_bias) * _sizes(x)[1] for x in linear)


def _sizes(layer):
    *inputs, outputs = layer.kernel.shape
    return int(np.prod(inputs)), outputs


def _square(rows):
    """Returns the sum of outer products of the last axis."""
    rows = ops.reshape(rows, (-1, rows.shape[-1]))
    return ops.matmul(ops.transpose(rows), rows)


def _products(x, gradients):
    """Returns the Jacobian by a kernel as one row, `(batch, sums, weights)`.

    Args:
        x: Tensor of shape `(batch, positions, inputs)`.
        gradients: Tensor of shape `(batch, positions, sums, outputs)`.
    """
    batch, positions = ops.shape(gradients)[:2]
    *_, sums, outputs = gradients.shape
    flat = ops.reshape(gradients, (batch, positions, sums * outputs))
    found = ops.matmul(ops.transpose(x, (0, 2, 1)), flat)
    found = ops.reshape(found, (batch, x.shape[-1], sums, outputs))
    found = ops.transpose(found, (0, 2, 1, 3))
    return ops.reshape(found, (batch, sums, x.shape[-1] * outputs))


def _jacobians(layer, pair):
    """Returns the Jacobian by the kernel of a layer, and that by its bias if any."""
    x, gradients = pair
    kernel = _products(graph_split.rows(layer, x), gradients)
    return [kernel, ops.sum(gradients, axis=1)] if layer.use_bias else [kernel]


# By the value of `structure` of a Laplace approximation.
STRUCTURES = {"kronecker": Kronecker, "diagonal": Diagonal, "full": Full}
