"""Repeated forward passes of one stochastic model."""

import contextlib
import math
import operator
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

import layers
from layers import keras_internals, tracing
from layers.compilation import Compiled
from layers.estimators import ESTIMATORS
from zoo import outputs
from zoo.classifier import classes_of
from zoo.posterior.base import (
    Posterior,
    at_least_one,
    check_images,
    check_keys,
    check_scale,
    images_that_count,
    ranking_of,
)
from zoo.posterior.graph_split import Split
from zoo.posterior.pixels import takes_bytes
from zoo.posterior.sample_loop import (
    MOST_AT_ONCE,
    chunk_size,
    is_number,
    run_all,
    symbolic_chunk_size,
)

MEMORY = 64 * 2**20
# Images from which on a member by itself is faster than several in one batch: it has
# the kernels of the plain network.
_MANY = 32
_OVERLAP = 4  # What batches of passes that are computed together may take of it.
_NOISE_SETTINGS = "rate", "stddev", "estimator"  # Attributes of layers that draw.
_NUM_PROBED = 8  # Number of images to probe layers that are not of this package.


@keras.saving.register_keras_serializable(package="zoo")
class MonteCarlo(Posterior):
    """Samples the logits of a stochastic model.

    Every pass runs the model in inference mode: random layers such as
    `layers.MCDropout` draw anew, and batch normalization uses its moving statistics. A
    layer that the model calls with `training=True`, as in `Dropout(0.5)(x,
    training=True)`, draws too. A model that cannot draw runs once, and its logits are
    repeated. Layers that are not of this package draw by generators of their own, which
    do not follow the seed.

    What comes before the first random layer is computed once, and the rest in batches
    of several passes where it can be; the samples are those of single passes. In layers
    with `M` members, sample `s` is that of member `s % M`. Where it is called with
    values, rather than inside of a compiled function, it is compiled.

    It is called as `posterior(images, seed=None, offset=0)`; `zoo.posterior.Posterior`
    says what these mean.

    Args:
        model: From images to logits; of a `MonteCarlo` it is that of its model.
        num_samples: The number of forward passes.
        seed: Makes the calls without a seed reproducible.
        estimator: Overrides that of all layers with Gaussian weights: `"flipout"`,
            `"weight_sampling"` or `"local_reparameterization"`.
        memory: Approximate limit on the bytes of feature maps in memory at once; passes
            are batched up to it. One pass of all images is the minimum. TensorFlow
            computes several such batches together as long as they take no more than
            four times that.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(num_samples, batch, num_classes)`.

    Example:

    >>> import zoo
    >>> model = zoo.build("resnet20_mcdo", (32, 32, 3), num_classes=10)
    >>> posterior = MonteCarlo(model, num_samples=5)
    >>> tuple(posterior(ops.zeros((2, 32, 32, 3)), seed=1).shape)
    (5, 2, 10)
    """

    adapts_to = ()

    def __init__(
        self,
        model: "keras.Model | MonteCarlo",
        num_samples: int = 10,
        seed: int | None = None,
        estimator: str | None = None,
        memory: int = MEMORY,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        model = network_of(model)
        if estimator is not None:
            layers.checks.check_choice(estimator, "estimator", ESTIMATORS)
        self.memory = layers.checks.check_count(memory, "memory")
        self.model = model
        self.num_samples = layers.checks.check_count(num_samples, "num_samples")
        self.estimator = estimator
        self.map_shape = tuple(model.output_shape[1:-1])
        self.num_classes = model.output_shape[-1]
        self.image_shape = tuple(model.input_shape[1:])
        self.check_task()
        with layers.stream(0, estimator=estimator):
            self._split = Split(model)
        self.repeats_itself = not self._split.draws
        self._compiled = Compiled(self._draw, self, self._split.is_known)
        self._drawing = _drawing(model)
        self.takes_bytes = takes_bytes(model)
        self.ranks_by = ranking_of(model)
        self._is_known = not self.unknown_layers and outputs.ends_with_logits(model)
        self._is_probed = self._is_known

    @property
    def task(self) -> str:
        return outputs.task_of(self.model)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; empty if not known."""
        return classes_of(self.model)

    def sample(self, images, key, offset):
        return self.first(images, key, offset, self.num_samples)

    def first(self, images, key, offset, num_samples):
        """Returns the first ones of the samples of one key, of which there is no end.

        Args:
            images: Tensor of shape `(batch, height, width, channels)`.
            key: Integer or scalar integer tensor.
            offset: The number of the first image.
            num_samples: In place of that of the layer; in TensorFlow graphs it may be
                a scalar integer tensor.

        Returns:
            Tensor of shape `(num_samples, batch, num_classes)`.
        """
        check_images(images, self.image_shape)
        with contextlib.suppress(TypeError):  # A tensor of a graph stays one.
            num_samples = operator.index(num_samples)
        rows = at_least_one(images)
        self.probe_once(rows)
        version = self.noise_settings()
        samples, _ = self._compiled((rows, key, offset), (num_samples,), version)
        keras_internals.clear_losses(self)  # They are tensors of the compiled function.
        return samples if rows is images else samples[:, : ops.shape(images)[0]]

    def each(self, images, key, first):
        """Returns the logits of one pass of each image, with draws of its own.

        Image `i` has the draws of sample `first + i`, as the only image of a batch, so
        images can be those of a sequence and come one by one.

        Args:
            images: Tensor of one image at least, of shape `(batch, *image_shape)`.
            key: Integer or scalar integer tensor.
            first: The number of the sample of the first image, the same.

        Returns:
            Tensor of shape `(batch, ..., num_classes)`, of float32.
        """
        values = self._split.prefix(images)
        if self.repeats_itself:
            return ops.cast(self._split.suffix(values), "float32")
        batch, first = ops.shape(images)[0], ops.cast(first, "int32")
        if self._split.by_row:
            samples = first + ops.arange(batch, dtype="int32")
            together = _together(self.model, self._split, 0, self.estimator)
            return together(layers.random.fold(key, samples), values, samples)
        passes = passes_of(self.model, self._split, key, 0, 1, self.estimator)

        def run(numbers):
            own = [ops.take(value, numbers, axis=0) for value in values]
            return passes(own, first + numbers)

        shape = (batch, 1, *self.map_shape, self.num_classes)
        return self._run_all(run, shape, 1)[0][:, 0]

    def sample_until(
        self, images, tolerance: float, seed=None, offset=0, step: int = 5
    ):
        """Draws samples until the mean prediction is known well enough.

        After every `step` samples, each class of each image has the standard error of
        its mean probability, `std / sqrt(n)`. Once all are at most `tolerance`, or
        there are `num_samples`, it ends. The samples are the first of those that a call
        with that seed gives; their number depends on all of the batch.

        Args:
            images: Tensor of shape `(batch, height, width, channels)`, not of a
                compiled function.
            tolerance: The largest standard error of a probability.
            seed: Makes the samples reproducible, as in a call.
            offset: The number of the first image.
            step: Samples between two looks. The first ones may agree by chance, and
                the fewer there are the likelier.

        Returns:
            Tensor of shape `(n, batch, num_classes)`, of logits; `n` is how many were
            drawn: a multiple of `step`, or `num_samples`, or 1 where nothing is random.
        """
        if not (layers.checks.is_number(tolerance) and tolerance >= 0) or step < 2:
            raise ValueError(
                "`tolerance` must not be negative, and `step` two at least. Received: "
                f"tolerance={tolerance}, step={step}"
            )
        check_images(images, self.image_shape)
        check_scale(images, self)
        check_keys(seed, offset)
        key = self.next_key() if seed is None else seed
        settings = self.num_samples, float(tolerance), min(step, self.num_samples)
        rows = at_least_one(images)
        self.probe_once(rows)
        version = self.noise_settings()
        samples, count = self._compiled((rows, key, offset), settings, version)
        keras_internals.clear_losses(self)
        return samples[: int(count), : ops.shape(images)[0]]

    @property
    def max_samples(self) -> None:
        """There is no end of passes."""

    @property
    def split(self) -> Split:
        """The graph of the model, cut at its first draw."""
        return self._split

    @property
    def unknown_layers(self) -> list[str]:
        """The names of layers that may draw, but not by a seed."""
        return self._split.unknown

    def is_deterministic(self, images) -> bool:
        """Returns whether the model is deterministic, as far as some images tell.

        Args:
            images: Array of shape `(batch, height, width, channels)`.

        Returns:
            Whether nothing in the graph draws, but for layers that are not of this
            package and of Keras, which predict the same twice.

        Raises:
            ValueError: If the model returns no logits, or if it draws by Python or
                NumPy, which a compiled function does once and for all.
        """
        if self._is_known:
            return not self._split.draws

        def run(images):
            with layers.stream(0):
                return self._split.suffix(self._split.prefix(images))

        def values(run):
            return ops.convert_to_numpy(run(images)).astype("float32")

        images = ops.convert_to_tensor(images)
        first = values(run)
        name = f"What '{self.model.name}' returns"
        _CHECKS[self.task](first[None], name)
        self._is_probed = True
        if not self.unknown_layers or np.array_equal(first, values(run)):
            return not self._split.draws_by_key
        compiled = Compiled(run, self, pure=False)
        if np.array_equal(*(values(lambda x: compiled((x,), ())) for _ in range(2))):
            raise ValueError(
                f"The model '{self.model.name}' draws when it is called, and no more "
                "when it is compiled, since it does so by Python or NumPy. Draw by "
                "`layers.RandomLayer`, or by `keras.random` with a SeedGenerator. "
                f"Received: layers that may draw: {', '.join(self.unknown_layers)}"
            )
        return False

    def settled(self, change=lambda model: model):
        posterior = type(self)(change(self.model), 1, name=self.name)
        posterior.repeats_itself = True
        return posterior

    def with_models(self, change):
        posterior = type(self)(
            change(self.model),
            self.num_samples,
            estimator=self.estimator,
            memory=self.memory,
            name=self.name,
        )
        posterior.repeats_itself = self.repeats_itself
        return posterior

    def logits(self, images):
        return ops.cast(self.model(images, training=False), "float32")

    def probe_once(self, images):
        """Probes the first few images of the first call, where it is called eagerly."""
        if not self._is_probed and tracing.current() is None:
            self.is_deterministic(images[:_NUM_PROBED])

    def noise_settings(self) -> tuple:
        """Returns what a user may set anew after the first call."""
        return _noise_settings(self._drawing)

    def _draw(self, images, key, offset, num_samples, tolerance=None, step=None):
        """Returns samples, and how many of them were drawn; see `sample_until`."""
        batch = ops.shape(images)[0]
        values = self._split.prefix(images)
        shape = (num_samples, batch, *self.map_shape, self.num_classes)
        if self.repeats_itself:
            logits = ops.cast(self._split.suffix(values), "float32")
            count = num_samples if tolerance is None else 1
            return ops.broadcast_to(logits, shape), count
        passes = passes_of(self.model, self._split, key, offset, batch, self.estimator)

        def run(numbers):
            return passes(values, numbers)

        chunk = self._chunk(batch, num_samples, step)
        at_once = self._at_once(batch, chunk, num_samples)
        return self._run_all(run, shape, chunk, tolerance, step, at_once)

    def _run_all(self, run, shape, chunk, *more):
        if keras.backend.backend() == "jax" and not self._split.is_known:
            # In a traced loop these would draw once, and lose their state.
            samples = [run(ops.array([n], "int32")) for n in range(shape[0])]
            return ops.concatenate(samples), shape[0]
        return run_all(run, shape, chunk, *more)

    def _chunk(self, batch, num_samples, step):
        """Returns how many passes are a batch."""
        if not self._split.by_row or not self._split.row_bytes:
            return 1
        batch = images_that_count(batch)
        if self._split.has_members and not (is_number(batch) and batch < _MANY):
            return 1
        rows = max(self.memory // self._split.row_bytes, 1)
        if step is None and not is_number(batch) and keras.backend.backend() == "jax":
            return symbolic_chunk_size(num_samples, rows, batch)
        maximum = max if is_number(batch) else ops.maximum
        limit = maximum(rows // maximum(batch, 1), 1)
        return chunk_size(num_samples, limit, batch, step)

    def _at_once(self, batch, chunk, num_samples):
        """Returns how many chunks TensorFlow may compute together."""
        row_bytes = self._split.row_bytes
        if row_bytes and is_number(batch) and is_number(chunk):
            each = chunk * row_bytes
            if self.map_shape and is_number(num_samples):
                # A round has the samples of all twice, too, which of maps are many.
                each += 8 * num_samples * math.prod(self.map_shape) * self.num_classes
            fitting = _OVERLAP * self.memory // (max(batch, 1) * each)
            return min(max(fitting, 1), MOST_AT_ONCE)
        # Of a batch of any size, a chunk fills the memory where it can.
        return 2 if row_bytes and self._split.by_row else MOST_AT_ONCE

    def get_config(self):
        config = {
            "model": keras.saving.serialize_keras_object(self.model),
            "num_samples": self.num_samples,
            "estimator": self.estimator,
            "memory": self.memory,
        }
        if self.repeats_itself == self._split.draws:  # Calls have shown it.
            config["repeats_itself"] = self.repeats_itself
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config):
        model = keras.saving.deserialize_keras_object(config["model"])
        own = {k: v for k, v in config.items() if k != "repeats_itself"}
        made = cls(**{**own, "model": model})
        made.repeats_itself = config.get("repeats_itself", made.repeats_itself)
        return made


def _check_different(logits, name):
    outputs.check_logits(logits, name, are_different=True)


# Of the first predictions, by task.
_CHECKS = {
    "classification": _check_different,
    "segmentation": _check_different,
    "regression": outputs.check_gaussians,
}


def network_of(model: keras.Model | MonteCarlo) -> keras.Model:
    """Returns a model from images to logits, or that of a `MonteCarlo`.

    Raises:
        ValueError: If it is no such model.
    """
    model = model.model if isinstance(model, MonteCarlo) else model
    outputs.check_model(model)
    return model


def as_posterior(model: keras.Model | Posterior, num_samples: int = 1) -> Posterior:
    """Returns a posterior as it is, and a model as `num_samples` passes of it.

    A deterministic model has one.
    """
    if isinstance(model, Posterior):
        return model
    posterior = MonteCarlo(model, num_samples)
    if posterior.repeats_itself:
        posterior.num_samples = 1
    return posterior


def noise_settings(model: keras.Model | Posterior) -> tuple:
    """Returns what a user may set anew of random layers, after what is compiled."""
    return _noise_settings(_drawing(model))


def _drawing(model):
    return [
        layer
        for layer in keras_internals.flat_layers(model)
        if any(hasattr(layer, name) for name in _NOISE_SETTINGS)
    ]


def _noise_settings(drawing):
    return tuple(
        (name, getattr(layer, name, None))
        for layer in drawing
        for name in _NOISE_SETTINGS
    )


def passes_of(
    model: keras.Model,
    split: Split,
    key,
    offset,
    batch,
    estimator: str | None = None,
) -> Callable:
    """Returns a function from what passes share, and their numbers, to their logits.

    Args:
        model: From images to logits.
        split: Its graph.
        key: Integer or scalar integer tensor.
        offset: The number of the first image.
        batch: The number of images.
        estimator: Overrides that of all layers with Gaussian weights, if any.

    Returns:
        A function of what `split.prefix` gives, and of an int32 tensor of shape
        `(passes,)`, to float32 logits of shape `(passes, batch, ..., num_classes)`.
        Several passes are one batch if `split.by_row`; else there is one.
    """
    together = _together(model, split, offset, estimator)

    def run(values, numbers):
        # A loop traces this once, so each pass opens a stream of its own.
        keys, tiled, of = layers.random.fold(key, numbers), values, numbers
        if split.by_row:
            tiled = [_tile(value, ops.shape(numbers)[0]) for value in values]
        else:
            keys, of = keys[0], numbers[0]
        logits = together(keys, tiled, of)
        return ops.reshape(
            logits, (numbers.shape[0] or -1, batch, *model.output_shape[1:])
        )

    return run


def _together(model, split, offset, estimator):
    """Returns a function of keys, values of the prefix and numbers of samples."""
    prepared = _prepare(model)

    def together(keys, values, numbers):
        with layers.stream(
            keys,
            offset=offset,
            estimator=estimator,
            prepared=prepared,
            number=numbers,
        ):
            return ops.cast(split.suffix(values), "float32")

    if split.has_small_maps and split.is_known:
        return layers.compilation.fuse(together)
    return together


def _prepare(model):
    """Returns what random layers compute alike in each pass."""
    random = [
        layer
        for layer in keras_internals.flat_layers(model)
        if isinstance(layer, layers.RandomLayer) and layer.stochastic
    ]
    return {layer: layer.prepare() for layer in random}


def _tile(value, count):
    """Repeats a batch, all of it and then all of it again."""
    return ops.tile(value, (count, *[1] * (len(value.shape) - 1)))
