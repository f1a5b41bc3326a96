"""The weights that Laplace's approximation makes Gaussian, and what they predict."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from keras import ops

import layers
from layers.compilation import Compiled
from zoo.posterior import curvature, gauss_newton
from zoo.posterior.graph_split import LastLayer, LinearLayers
from zoo.posterior.last_layer import check_finite

_MEMORY = 64 * 2**20  # Bytes of Jacobians and feature maps at once, about.


class LastLayerWeights:
    """The weights of the last layer, in which logits are linear.

    The `inputs` of an image are its features, of float32.

    Args:
        owner: The posterior, whose variables compiled functions read.
        last: The last layer of its model.
        structure: A key of `zoo.posterior.curvature.STRUCTURES`.
        subnetwork: None.
    """

    def __init__(self, owner, last: LastLayer, structure: str, subnetwork=None):
        _check_none(subnetwork, "last_layer")
        self.subnetwork = None
        self._last, self._structure = last, structure
        self._inputs = Compiled(self.inputs, owner, pure=not last.unknown)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of what is learned."""
        return self._curvature().shapes

    def inputs(self, images):
        """Returns what the Gaussian weights need of images, as a tensor."""
        return ops.cast(self._last.features(images), "float32")

    def checked_inputs(self, images, number: int, name: str) -> np.ndarray:
        """Returns `inputs` of the batch of some number.

        Args:
            images: Array of images.
            number: For the error.
            name: That of the model, for the error.

        Raises:
            ValueError: If they are not finite.
        """
        features = ops.convert_to_numpy(self._inputs((images,), ()))
        check_finite(features, name, number)
        return features

    def passes(self, is_chosen: bool) -> Iterable:
        """Yields what learns from all images, one after the other.

        Args:
            is_chosen: Whether it is known which weights of a subnetwork are Gaussian.
        """
        yield _LastLayerSums(self._last.head, self._curvature())

    def square_norm(self, values: Mapping) -> float:
        """Returns the sum of the squares of the weights."""
        head = self._last.head
        weights = [head.kernel, head.bias] if head.use_bias else [head.kernel]
        arrays = map(ops.convert_to_numpy, weights)
        return float(sum(np.square(w, dtype="float64").sum() for w in arrays))

    def predict(self, inputs, values: Mapping, priors: Sequence):
        """Returns the mean of logits, and their distribution for each prior precision.

        Args:
            inputs: Tensor of the inputs of a batch.
            values: Tensors or arrays of what was learned.
            priors: Scalars.

        Returns:
            float32 tensor of shape `(batch, num_classes)`, and a list of what has the
            methods of `zoo.posterior.gauss_newton.LogitCovariance`.
        """
        mean = ops.cast(self._last.head(inputs), "float32")
        of = self._curvature()
        found = [
            _LinearLogits(of, inputs, {**values, "prior_precision": prior})
            for prior in priors
        ]
        return mean, found

    def _curvature(self):
        head = self._last.head
        features, classes = head.kernel.shape
        kind = curvature.STRUCTURES[self._structure]
        return kind(features, classes, head.use_bias)


class LayerWeights:
    """The weights of dense layers and convolutions, in which logits are linearized.

    The `inputs` of an image are its pixels.

    Args:
        owner: The posterior, whose variables compiled functions read.
        last: The last layer of its model.
        structure: A key of `zoo.posterior.gauss_newton.STRUCTURES`.
        subnetwork: None for all of these layers, or names of some.
    """

    def __init__(self, owner, last: LastLayer, structure: str, subnetwork=None):
        _check_none(subnetwork, "all")
        self._open(owner, last, structure, None, None)

    def _open(self, owner, last, structure, names, count):
        self.subnetwork = names or count
        self._found = LinearLayers(owner.model, names)
        self.layers = self._found.layers
        self._structure = gauss_newton.STRUCTURES[structure](self.layers, count)
        self._num_classes = owner.num_classes
        self._size = self._chunk_size()
        compiled = dict(owner=owner, pure=not last.unknown)
        self._sums = Compiled(self._sums_of, **compiled)
        self._squares = Compiled(self._squares_of, **compiled)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._structure.shapes

    def inputs(self, images):
        return images

    def checked_inputs(self, images, number: int, name: str) -> np.ndarray:
        return images

    def passes(self, is_chosen: bool) -> Iterable:
        yield _LayerSums(self._sums, self._size, self._structure.solve)

    def square_norm(self, values: Mapping) -> float:
        flat = np.concatenate([np.ravel(w) for w in self._weights()])
        if "indices" in values:
            flat = flat[ops.convert_to_numpy(values["indices"])]
        return float(np.square(flat, dtype="float64").sum())

    def predict(self, inputs, values: Mapping, priors: Sequence):
        classes = self._num_classes
        directions = gauss_newton.basis(classes).T[:, None]

        def cotangents(logits):
            shape = classes, ops.shape(logits)[0], classes
            return ops.broadcast_to(ops.convert_to_tensor(directions), shape)

        def run(images):
            logits, pairs = self._found.pull_back(images, cotangents)
            blocks = self._structure.blocks(pairs, values)
            matrices = [gauss_newton.covariance(blocks, prior) for prior in priors]
            return logits, ops.stack(matrices, axis=1)

        shapes = (classes,), (len(priors), classes, classes)
        mean, matrices = _by_chunks(run, inputs, self._size, shapes)
        found = [
            gauss_newton.LogitCovariance(matrices[:, number])
            for number in range(len(priors))
        ]
        return mean, found

    def _weights(self):
        """Returns the kernel and the bias of each layer as arrays."""
        return [ops.convert_to_numpy(w) for pair in self._pairs() for w in pair]

    def _pairs(self):
        return [(x.kernel, x.bias) if x.use_bias else (x.kernel,) for x in self.layers]

    def _sums_of(self, images, *indices):
        values = dict(zip(("indices",), indices, strict=False))
        logits, pairs = self._found.pull_back(images, gauss_newton.roots)
        return logits, self._structure.sums(pairs, values)

    def _squares_of(self, images):
        logits, pairs = self._found.pull_back(images, gauss_newton.roots)
        return logits, gauss_newton.Diagonal(self.layers).sums(pairs, {})

    def _chunk_size(self):
        """Returns how many images are linearized at once."""
        positions = self._found.num_positions
        if None in positions:
            return 8
        numbers = 0
        for layer, count in zip(self.layers, positions, strict=True):
            *inputs, outputs = layer.kernel.shape
            weights = int(np.prod(inputs)) * outputs
            numbers += self._num_classes * (count * outputs + weights)
            numbers += count * int(np.prod(inputs))
        return max(1, _MEMORY // (4 * numbers))


class Subnetwork(LayerWeights):
    """Some of the weights of dense layers and convolutions.

    Args:
        owner: As of `LayerWeights`.
        last: As of `LayerWeights`.
        structure: As of `LayerWeights`; `"full"` for a number of weights.
        subnetwork: Names of layers, or a number of weights.

    Raises:
        ValueError: If it is neither.
    """

    def __init__(self, owner, last: LastLayer, structure: str, subnetwork=None):
        names, count = _parsed(subnetwork)
        if count is not None and structure != "full":
            raise ValueError(
                "A subnetwork of a number of weights has a full covariance; take "
                'structure="full", or the names of layers. Received: '
                f"subnetwork={subnetwork}, structure={structure}"
            )
        self.count = count
        self._open(owner, last, structure, names, count)
        if count is not None and count > (size := self.num_weights):
            raise ValueError(
                f"'{owner.model.name}' has {size:,} weights that can be chosen. "
                f"Received: subnetwork={count}"
            )

    @property
    def num_weights(self) -> int:
        """How many weights the layers have."""
        return gauss_newton.num_weights(self.layers)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        indices = {} if self.count is None else {"indices": (self.count,)}
        return {**indices, **super().shapes}

    def passes(self, is_chosen: bool) -> Iterable:
        if self.count is not None and not is_chosen:
            yield _LayerSums(self._squares, self._size, self._choose)
        yield from super().passes(is_chosen)

    def largest(self, variances) -> np.ndarray:
        """Returns the indices of the largest of some variances, in ascending order.

        Args:
            variances: Array of one number for each weight of the layers, in the order
                of `zoo.posterior.gauss_newton.Full`; or a list of arrays, one for the
                kernel and one for the bias of each layer, which are put together so; or
                such arrays by the `path` of the weight, and of further weights too.
        """
        if isinstance(variances, Mapping):
            paths = [w.path for pair in self._pairs() for w in pair]
            if missing := [path for path in paths if path not in variances]:
                raise ValueError(
                    "`variances` must have an array for the kernel and the bias of "
                    "each dense layer and convolution, by its path. Received: none of "
                    f"{', '.join(missing[:3])}"
                )
            variances = [variances[path] for path in paths]
        if isinstance(variances, (list, tuple)):
            variances = np.concatenate([np.ravel(np.asarray(x)) for x in variances])
        variances = np.asarray(variances, "float64")
        if variances.shape != (self.num_weights,) or not np.isfinite(variances).all():
            raise ValueError(
                f"`variances` must be {self.num_weights:,} finite numbers, one for "
                "each weight of the dense layers and convolutions. Received: shape "
                f"{variances.shape}"
            )
        order = np.argsort(-variances, kind="stable")
        return np.sort(order[: self.count]).astype("int32")

    def _choose(self, sums, count):
        # All have the same prior, so the variance is large where the curvature is low.
        return {"indices": self.largest([-total for total in sums])}


# By the value of `subset` of a Laplace approximation.
SUBSETS = {
    "last_layer": LastLayerWeights,
    "all": LayerWeights,
    "subnetwork": Subnetwork,
}


@dataclasses.dataclass(frozen=True)
class _LinearLogits:
    """Logits of a last layer with Gaussian weights; see `LogitCovariance`."""

    of: curvature.Curvature
    features: object
    values: Mapping

    @property
    def num_normals(self):
        return self.of.num_normals

    def variance(self):
        return self.of.variance(self.features, self.values)

    def zero_sum(self):
        return self.of.zero_sum(self.features, self.values)

    def draw(self, normals):
        return self.of.draw(self.features, self.values, normals)


class _LastLayerSums:
    """Sums over images that the curvature of the last layer is made of."""

    def __init__(self, head, of):
        self._head, self._of = head, of

    def add(self, inputs: np.ndarray, values) -> np.ndarray:
        """Adds a batch; returns its log-probabilities, of float64."""
        features, head = inputs.astype("float64"), self._head
        logits = features @ ops.convert_to_numpy(head.kernel).astype("float64")
        logits = logits + ops.convert_to_numpy(head.bias) if head.use_bias else logits
        found = log_softmax(logits)
        self._of.add(features, np.exp(found))
        return found

    def solve(self) -> dict[str, np.ndarray]:
        """Returns what was learned."""
        return self._of.solve()


class _LayerSums:
    """Sums over images that the curvature of several layers is made of."""

    def __init__(self, run, size, solve):
        self._run, self._size, self._solve = run, size, solve
        self._sums, self._count = None, 0

    def add(self, inputs: np.ndarray, values) -> np.ndarray:
        logits = []
        indices = [values["indices"]] if "indices" in values else []
        for start in range(0, len(inputs), self._size):
            images = inputs[start : start + self._size]
            own, new = self._run((images, *indices), ())
            logits.append(ops.convert_to_numpy(own).astype("float64"))
            new = [ops.convert_to_numpy(x).astype("float64") for x in new]
            old = self._sums or [0] * len(new)
            self._sums = [a + b for a, b in zip(old, new, strict=True)]
        self._count += len(inputs)
        logits = np.concatenate(logits)
        if bad := np.count_nonzero(~np.isfinite(logits).all(axis=1)):
            raise ValueError(
                "The logits of the training images must be finite. Received: NaN or "
                f"infinity in {bad} of {len(logits)} images of a batch"
            )
        return log_softmax(logits)

    def solve(self) -> dict[str, np.ndarray]:
        return self._solve(self._sums, self._count)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns log-probabilities of logits, `(batch, num_classes)`."""
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _by_chunks(run, images, size, shapes):
    """Returns what a function returns for images, which are given to it a few at once.

    Args:
        run: From images to a tuple of float32 tensors, with the images as first axis.
        images: Tensor of images.
        size: The largest number at once.
        shapes: The shapes of an image's results.
    """
    count = ops.shape(images)[0]
    if isinstance(count, int):
        if count <= size:
            return run(images)
    else:
        size = ops.minimum(count, size)
    sides = ops.shape(images)[1:]
    numbers = ops.arange(count, dtype="int32")

    def body(start, *results):
        # The last ones begin earlier: all have one size.
        start = ops.minimum(start, count - size)
        found = run(ops.slice(images, (start, *[0] * len(sides)), (size, *sides)))
        place = numbers - start
        here = ops.logical_and(place >= 0, place < size)
        moved = [ops.take(x, ops.clip(place, 0, size - 1), axis=0) for x in found]
        kept = [
            ops.where(ops.reshape(here, (-1, *[1] * (len(x.shape) - 1))), x, old)
            for x, old in zip(moved, results, strict=True)
        ]
        return start + size, *kept

    zeros = [ops.zeros((count, *shape), "float32") for shape in shapes]
    start = ops.zeros((), "int32")
    _, *found = ops.while_loop(lambda start, *_: start < count, body, (start, *zeros))
    return tuple(found)


def _check_none(subnetwork, subset):
    if subnetwork is not None:
        raise ValueError(
            '`subnetwork` is for subset="subnetwork". Received: '
            f"subset={subset}, subnetwork={subnetwork}"
        )


def _parsed(subnetwork):
    """Returns names of layers and a number of weights, one of which is None."""
    names = not isinstance(subnetwork, str) and isinstance(subnetwork, Sequence)
    if names and subnetwork and all(isinstance(name, str) for name in subnetwork):
        return list(subnetwork), None
    if subnetwork is None or isinstance(subnetwork, str) or names:
        raise ValueError(
            "`subnetwork` must be a list of names of layers, or the number of weights "
            f"to choose. Received: subnetwork={subnetwork}"
        )
    return None, layers.checks.check_count(subnetwork, "subnetwork")
