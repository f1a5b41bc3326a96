"""What every posterior is: a layer from images to sampled logits."""

import contextlib
import contextvars
import inspect
import json
import numbers
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import keras
import numpy as np
from keras import ops

import layers
from layers import gradients, keras_internals, tracing
from zoo import arrays, outputs, spelling
from zoo.posterior import examples


class Posterior(layers.RandomLayer):
    """Base class of posteriors, called as `posterior(images, seed=None, offset=0)`.

    With a seed, an integer or a scalar integer tensor, the samples are a pure function
    of it: sample `s` of an image depends on the seed, on `s`, on the image and on its
    number alone, which is `offset` plus its place in the batch. The split into batches
    does not matter then, and no state is read or written. Without a seed every call
    draws a new one, from the state that the `seed` of the constructor starts.

    Subclasses set `num_samples`, `num_classes`, `image_shape`, for models with logits
    for each pixel the `map_shape` and, if they are known, the names of the `classes`,
    and implement `sample(images, key, offset)`. One that learns from data names its
    weights in `adapted_weights`, and the splits that it learns from in `adapts_to`, and
    implements `learned`, which `adapt` calls.

    Args:
        seed: Makes the calls without a seed reproducible.

    It may be a layer of a functional model, such as `keras.Model(images,
    zoo.predictive.probs(posterior(images)))`. `predict`, `evaluate` and `fit` of a
    model that ends with the samples are errors, for Keras would take their axis for the
    batch; `predict` of the posterior gives those of any number of images.

    Input shape: `(batch, *image_shape)`; a batch may hold no image. Of networks for
    rows of numbers, these are what is called images here.

    Output shape: `(num_samples, batch, *map_shape, num_classes)`, of float32 logits. Of
    regressors it is `(num_samples, batch, 2)`: means and standard deviations, in the
    unit of the targets; see `zoo.predictive.gaussian`.
    """

    stochastic = False  # The layers inside may be.
    classes: tuple[str, ...] = ()
    map_shape: tuple[int, ...] = ()  # Height and width of what has logits by pixel.
    takes_bytes = False  # Whether it is known to take pixels in [0, 255].
    repeats_itself = False  # Whether all samples are known to be equal.
    takes_gradients = False  # Whether a prediction computes gradients.
    runs_elsewhere = False  # Whether something else than Keras computes it.
    passes_per_sample = 1  # Forward passes that a sample is the mean prediction of.
    # Of `mutual_information`, `energy` and `max_logit`, what the samples do not tell.
    unknown_scores: tuple[str, ...] = ()
    # Names of attributes: the weights that `adapt` sets.
    adapted_weights: tuple[str, ...] = ()
    # The splits that `adapt` learns from, in the order of `SPLITS`: images that the
    # weights were trained on, "train", or have not seen, "validation".
    adapts_to: tuple[str, ...] = ("validation",)
    takes_snapshots = False  # Whether it has a `collect` for those of a training.
    # How many images before and behind an image its samples depend on, too.
    context: tuple[int, int] = (0, 0)
    form = ""  # What samples depend on beside weights, in words.
    # Names of what `scored` gives beside samples.
    score_names: tuple[str, ...] = ()
    # The name of the score that says how far to trust a prediction: one of
    # `score_names`, or of what samples say by themselves: "entropy", that of the mean
    # prediction, "energy" or "max_logit".
    ranks_by = "entropy"
    # What its networks may be for, see `zoo.outputs.task_of`.
    tasks: tuple[str, ...] = (*outputs.TASKS.values(), outputs.REGRESSION)
    # Classes that are made in its place of networks for other tasks.
    variants: Mapping[str, type] = types.MappingProxyType({})

    def __init__(self, seed: int | None = None, **kwargs):
        # The model casts the images itself; half precision could not hold them.
        super().__init__(seed, autocast=False, **kwargs)
        self._is_fitted = False
        self.built = True

    def __call__(self, images, *args, **kwargs):
        # Keras takes a list for several tensors.
        return super().__call__(as_array(images), *args, **kwargs)

    def call(self, images, seed=None, offset=0):
        check_images(images, self.image_shape)
        check_scale(images, self)
        check_keys(seed, offset)
        check_axes(self)
        key = self.next_key() if seed is None else seed
        samples = self.sample(images, key, offset)
        # The KL terms are for training, and loops leave tensors of their bodies there.
        keras_internals.clear_losses(self)
        return samples

    def sample(self, images, key, offset):
        """Returns the samples of one key; see the class."""
        raise NotImplementedError

    @classmethod
    def from_models(cls, models: Sequence, num_samples: int = 10, **settings):
        """Returns a posterior of this kind, as `model@name` means it.

        Args:
            models: A Keras model from images to logits, or a posterior; several ones
                are an ensemble.
            num_samples: Forward passes of a single stochastic model.
            **settings: Further arguments of the constructor.

        Raises:
            ValueError: If it is not made of that number of models.
        """
        if len(models) != 1:
            raise ValueError(
                f"A {cls.__name__} is made of one model. Received: {len(models)} models"
            )
        kind = cls.variants.get(task_of(models[0]), cls)
        known = {*kind.known_settings(), *_OF_LAYERS}
        if odd := [name for name in settings if name not in known]:
            raise ValueError(
                f"The posterior `{kind.__name__}` of this model has no setting "
                f"'{odd[0]}'. Known: {', '.join(kind.known_settings()) or 'none'}. "
                f"Received: {odd[0]}={settings[odd[0]]}"
            )
        if "num_samples" in known:
            settings["num_samples"] = num_samples
        return kind(models[0], **settings)

    @property
    def task(self) -> str:
        """What its networks are for, as `zoo.outputs.task_of` says."""
        return outputs.TASKS[2 + len(self.map_shape)]

    def check_task(self):
        """Checks that it is for the task of its networks.

        Raises:
            ValueError: If it is not.
        """
        if self.task not in self.tasks:
            raise ValueError(
                f"`{type(self).__name__}` is for {' and '.join(self.tasks)}, and its "
                f"network for {self.task}. Received: posterior='{self.name}'"
            )

    @classmethod
    def known_settings(cls) -> dict[str, inspect.Parameter]:
        """Returns the arguments of the constructor that a name may set."""
        found = inspect.signature(cls.__init__).parameters.values()
        return {
            parameter.name: parameter
            for parameter in list(found)[2:]  # Behind `self` and the model.
            if parameter.kind is not parameter.VAR_KEYWORD and parameter.name != "seed"
        }

    @classmethod
    def of_prediction(cls, settings: Mapping[str, object]) -> tuple[str, ...]:
        """Returns the names of settings that change nothing of what `adapt` learns.

        What one posterior has learned is then that of another one, of the same other
        settings.

        Args:
            settings: Those that it was adapted with.
        """
        return ()

    @classmethod
    def parse_settings(cls, pairs: Iterable[tuple[str, str]]) -> dict[str, object]:
        """Returns the arguments of settings that are text, as in a name.

        Args:
            pairs: Names and values: numbers and other JSON, or words. A list may be of
                words joined by `+`.

        Raises:
            ValueError: If there is no such setting. The constructor says what values
                there may be.

        Example:

        >>> from zoo.posterior import Laplace
        >>> Laplace.parse_settings([("subnetwork", "stem_conv+head")])
        {'subnetwork': ['stem_conv', 'head']}
        """
        known, found = cls.known_settings(), {}
        for name, text in pairs:
            if name not in known:
                names = ", ".join(known) or "none"
                raise ValueError(
                    f"The posterior `{cls.__name__}` has no setting '{name}'."
                    f"{spelling.hint(name, known)} Known: {names}."
                )
            found[name] = _value(text, known[name].annotation)
        return found

    def adapt(
        self,
        dataset,
        labels=None,
        batch_size: int = 100,
        seed: int = 0,
        validation=None,
    ):
        """Learns from labeled images what the posterior needs to know, if anything.

        An error or an interrupt leaves it as it was, or not adapted if what is inside
        has learned already.

        Which images these should be, `adapts_to` says: `("validation",)` is for images
        that are neither training nor test images, as the first are known too well, and
        the second would no longer test; `("train",)` for those that the weights were
        trained on; `("train", "validation")` for both.

        Args:
            dataset: With `images` and `labels`, as `training.data.load` gives it; where
                its `classes` and those of the model are known, labels are matched by
                their names. Or an array of images of shape
                `(examples, *image_shape)`, or an object that gives such arrays when it
                is sliced. Or a pair of such images and labels, or batches of both, for
                example a `tf.data.Dataset`.
            labels: Integer array of shape `(examples,)`, for an array of images.
            batch_size: Images per step, of images that are no batches.
            seed: Seed of the samples, an integer of 32 bits.
            validation: The validation set of what adapts to both: as `dataset`, or a
                pair of images and labels.

        Raises:
            ValueError: If these are no images and labels, or nothing can be learned
                from them.
        """
        size = layers.checks.check_count(batch_size, "batch_size")
        _check_seed(seed)
        self._check_validation(validation)
        own = keras_internals.flat_layers(self)
        new = [x for x in own if isinstance(x, Posterior) and not x._is_fitted]
        try:
            # Generators of NumPy take no negative seeds.
            key = int(seed) & 0xFFFFFFFF
            self.assign(self.learned(dataset, labels, size, key, validation))
        except BaseException:
            for posterior in new:
                posterior._is_fitted = False
            raise

    def learned(self, dataset, labels, batch_size: int, seed: int, validation):
        """Returns what `adapt` learns, and assigns then; here nothing.

        The arguments are those of `adapt`, checked.

        Returns:
            The values of `adapted_weights` by name.

        Raises:
            ValueError: If these are no images and labels, or nothing can be learned
                from them.
        """
        next(self.labeled(dataset, labels, batch_size))  # For its errors.
        return {}

    def labeled(
        self, dataset, labels, batch_size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields batches of images and labels; see `adapt`.

        Raises:
            ValueError: If there are no images of the right shape, or no label for each
                of them.
        """
        known = {"classes": self.classes, "num_classes": self.num_classes}
        known["task"] = self.task
        for images, own in examples.batches(dataset, labels, batch_size, **known):
            check_images(images, self.image_shape)
            yield images, own

    def _check_validation(self, validation):
        """Checks that there are images to validate on where they are needed."""
        if (validation is not None) != (self.adapts_to == SPLITS):
            raise ValueError(
                f"The posterior '{self.name}' adapts to "
                f"{' and '.join(self.adapts_to) or 'no'} images; `validation` is for "
                f"what adapts to both. Received: validation="
                f"{None if validation is None else type(validation).__name__}"
            )

    def _part_for(self, inner, dataset, labels, validation):
        """Returns these arguments of a posterior inside: the images that it needs."""
        pairs = (dataset, labels), (validation, None)
        given = dict(zip(self.adapts_to, pairs, strict=False))
        (images, of_images), *others = (given[split] for split in inner.adapts_to)
        return images, of_images, others[0][0] if others else None

    @property
    def is_adapted(self) -> bool:
        """Whether nothing is left to learn: `adapt` was called, or is not needed."""
        return self._is_fitted or not self.adapted_weights

    def values(self) -> dict[str, keras.Variable]:
        """Returns the weights that `adapt` sets, by the names of their attributes."""
        return {name: getattr(self, name) for name in self.adapted_weights}

    def assign(self, values: Mapping[str, object]):
        """Sets the weights that `adapt` would set, or none of them."""
        pairs = [(own, values[name]) for name, own in self.values().items()]
        self._is_fitted = False  # Should it be interrupted.
        for variable, value in pairs:
            variable.assign(value)
        self._is_fitted = True

    @property
    def draws(self) -> bool:
        """Whether anything inside may draw, so that a seed makes a difference."""
        return not self.repeats_itself

    @property
    def max_samples(self) -> int | None:
        """Of how many samples `first` knows; None if there is no end."""
        return self.num_samples

    @property
    def unknown_layers(self) -> list[str]:
        """The names of layers inside that may draw, but not by a seed."""
        return []

    def first(self, images, key, offset, num_samples):
        """Returns the first ones of the samples of one key; see `sample`.

        Args:
            images: Tensor of shape `(batch, *image_shape)`.
            key: Integer or scalar integer tensor.
            offset: The number of the first image.
            num_samples: Not more than there are; in TensorFlow graphs it may be a
                scalar integer tensor.
        """
        return self.sample(images, key, offset)[:num_samples]

    def scored(self, images, seed=None, offset=0):
        """Returns the samples of a call, and scores of the images.

        Args:
            images: Tensor of shape `(batch, *image_shape)`.
            seed: Makes the samples reproducible, as in a call.
            offset: The number of the first image.

        Returns:
            The samples, and a tensor of shape `(batch,)` for each of the
            `score_names`. The higher a score, the more an image is unlike those that
            the posterior has learned from.
        """
        return self(images, seed=seed, offset=offset), {}

    def first_scored(self, images, key, offset, num_samples):
        """Returns what `first` does, and scores as `scored`, in the same passes."""
        return self.first(images, key, offset, num_samples), {}

    def predict(self, images, batch_size: int = 128, seed: int = 0) -> np.ndarray:
        """Returns the samples of any number of images, which a call has in memory.

        Args:
            images: Array of shape `(examples, *image_shape)`, or an object that gives
                such arrays when it is sliced, with values in [0, 255].
            batch_size: Images per call. The samples do not depend on it.
            seed: Seed of the samples, an integer of 32 bits.

        Returns:
            Array of shape `(num_samples, examples, num_classes)`, of float32 logits.

        Raises:
            ValueError: If these are no images, no number of them, or no seed.
        """
        return np.concatenate([*self.sampled(images, batch_size, seed)], axis=1)

    def sampled(self, images, batch_size: int = 128, seed: int = 0):
        """Yields what `predict` returns, batch by batch, as arrays."""
        size = layers.checks.check_count(batch_size, "batch_size")
        images = images if hasattr(images, "__getitem__") else as_array(images)
        before, behind = self.context
        for start in range(0, len(images) or 1, size):
            first = max(start - before, 0)
            batch = np.asarray(images[first : start + size + behind])
            with gradients.untracked():
                samples = self(arrays.check_inputs(batch), seed=seed, offset=first)
            own = slice(start - first, start - first + size)
            yield ops.convert_to_numpy(samples)[:, own]

    def probe_once(self, images):
        """Checks on some images what is not known of the models before; see MonteCarlo.

        Args:
            images: Array of shape `(batch, *image_shape)`.

        Raises:
            ValueError: If a model returns no logits, or its draws cannot be compiled.
        """

    def is_deterministic(self, images) -> bool:
        """Returns whether it is deterministic, as far as images tell; see MonteCarlo.

        Args:
            images: Array of shape `(batch, *image_shape)`.

        Raises:
            ValueError: As `probe_once`.
        """
        return not self.draws

    def settled(self, change: Callable = lambda model: model) -> "Posterior":
        """Returns the same posterior, which is known to be deterministic.

        Args:
            change: From each Keras model inside to one in its place.
        """
        raise NotImplementedError

    def with_models(self, change: Callable) -> "Posterior":
        """Returns the same posterior of other networks, with the same draws.

        Args:
            change: From each Keras model inside to one of the same predictions.
        """
        return self.settled(change)

    def logits(self, images):
        """Returns the logits of a deterministic posterior of one sample.

        Args:
            images: Tensor of shape `(batch, *image_shape)`.

        Returns:
            Tensor of shape `(batch, num_classes)`, of float32.
        """
        return self.sample(images, 0, 0)[0]

    def compute_output_shape(self, input_shape):
        return self.num_samples, input_shape[0], *self.map_shape, self.num_classes

    def compute_output_spec(self, images, seed=None, offset=0):
        return keras.KerasTensor(self.compute_output_shape(images.shape), "float32")


def _value(text, annotation):
    """Returns the value of a setting."""
    try:
        return json.loads(text)
    except ValueError:
        kinds = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
        takes_list = any(typing.get_origin(kind) is Sequence for kind in kinds)
        return text.split("+") if takes_list else text


def _is_union(annotation):
    return typing.get_origin(annotation) in (types.UnionType, typing.Union)


SPLITS = "train", "validation"
_OF_LAYERS = "seed", "name", "dtype", "trainable"


def task_of(model: keras.Model | Posterior) -> str:
    """Returns what a model or the networks of a posterior are for."""
    return model.task if isinstance(model, Posterior) else outputs.task_of(model)


def ranking_of(model: keras.Model) -> str:
    """Returns what a layer of a model declares as `ranks_by`, or that of posteriors."""
    flat = keras_internals.flat_layers(model)
    found = [layer.ranks_by for layer in flat if hasattr(layer, "ranks_by")]
    return found[-1] if found else Posterior.ranks_by


def joined_splits(posteriors: Iterable) -> tuple[str, ...]:
    """Returns the splits that some posteriors adapt to, together."""
    needed = {split for posterior in posteriors for split in posterior.adapts_to}
    return tuple(split for split in SPLITS if split in needed)


def layer_name(name: str) -> str:
    """Returns a name that Keras takes for the layer of what has this name."""
    return re.sub(r"[^\w.]", "_", name)


def check_images(images, image_shape: tuple):
    """Checks the shape of a batch, before anything is compiled for it.

    Args:
        images: Tensor or array.
        image_shape: The shape of one of them, with None for any size.

    Raises:
        ValueError: If they have another shape.
    """
    shape = getattr(images, "shape", None)
    shape = np.shape(images) if shape is None else shape
    if getattr(shape, "rank", 0) is None:  # TensorFlow knows later.
        return
    sides = tuple(shape)[1:]
    if len(sides) != len(image_shape) or any(
        None not in (side, size) and side != size
        for side, size in zip(sides, image_shape, strict=True)
    ):
        raise ValueError(
            f"`images` must have the shape {('batch', *image_shape)}. "
            f"Received: images.shape={tuple(shape)}"
        )


def check_axes(posterior):
    """Checks that Keras does not take the axis of the samples for that of the batch.

    Args:
        posterior: It is being called.

    Raises:
        ValueError: If that is by `predict`, `evaluate` or `fit` of a functional model
            with an output whose first axis is not the one of its inputs.
    """
    model = _stepping()
    batches = {x.shape[0] for x in getattr(model, "inputs", None) or ()}
    shapes = [x.shape for x in getattr(model, "outputs", None) or ()]
    if batches and not {shape[0] for shape in shapes} <= batches:
        raise ValueError(
            f"The model '{model.name}' ends with the samples of the posterior "
            f"'{posterior.name}', whose axis Keras would take for the batch. Call "
            "`posterior.predict(images)`, or end the model with one row for each "
            "image, as with `zoo.predictive.probs`. Received: output shapes "
            f"{', '.join(map(str, shapes))}"
        )


def _stepping() -> keras.Model | None:
    """Returns the model of which Keras computes a batch, if it does so now.

    Keras tells layers neither this nor which model calls them.
    """
    frame = inspect.currentframe()
    while frame is not None:
        model = frame.f_locals.get("self")
        if frame.f_code.co_name in _STEPS and isinstance(model, keras.Model):
            return model
        frame = frame.f_back
    return None


_STEPS = {"predict_step", "test_step", "train_step"}


def as_array(images):
    """Returns lists of numbers or of tensors as one array."""
    if hasattr(images, "shape"):
        return images
    try:
        array = np.asarray(images)
    except ValueError:  # Rows of several lengths.
        array = np.empty(0, object)
    if array.dtype == object:
        raise ValueError(
            "`images` must be an array or a tensor of a batch of images; call the "
            "posterior on each batch of a data set. Received: images of type "
            f"{type(images).__name__}"
        )
    return array


def check_scale(images, posterior):
    """Checks that the first images are not scaled already, where that can be told.

    They are if the model is one that scales pixels, and they are fractions up to 1, or
    small and of both signs. A single bad image, of NaN, makes its own logits NaN.

    Args:
        images: Tensor or array.
        posterior: What is called with them.

    Raises:
        ValueError: If they are.
    """
    is_known = posterior.takes_bytes and tracing.is_known(images)
    dtype = keras.backend.standardize_dtype(images.dtype) if is_known else "uint8"
    if dtype == "uint8" or not images.shape[0]:
        return
    pixels = ops.convert_to_numpy(images[:_LOOKED_AT])
    pixels = pixels.astype("float32").reshape(-1)
    if not np.isfinite(pixels).all():
        return
    low, high = pixels.min(), pixels.max()
    between = high <= 1 and np.any((pixels > 0) & (pixels < 1))
    if dtype == "bool" or (low >= 0 and between) or (low < 0 and high <= _STANDARDIZED):
        raise ValueError(
            "`images` must be pixels in [0, 255], which the model scales itself, and "
            "seem to be scaled already. Received: "
            f"values from {low:.4g} to {high:.4g}"
        )


_LOOKED_AT = 8  # Images.
_STANDARDIZED = 20  # No image of mean 0 and standard deviation 1 has larger values.


def check_keys(seed, offset):
    """Checks a seed and the number of an image.

    Raises:
        ValueError: If one is no integer of 32 bits and no tensor of one.
    """
    for name, value in (("seed", seed), ("offset", offset)):
        if name == "seed" and value is None:
            continue
        if not _is_key(value):
            raise ValueError(
                f"`{name}` must be an integer of 32 bits or a scalar integer tensor. "
                f"Received: {name}={value}"
            )


def _check_seed(seed):
    """Checks the seed of what is learned, which no tensor is.

    Raises:
        ValueError: If it is no integer of 32 bits.
    """
    if not (isinstance(seed, numbers.Integral) and _is_key(seed)):
        raise ValueError(f"`seed` must be an integer of 32 bits. Received: seed={seed}")


def _is_key(value):
    if isinstance(value, numbers.Integral):
        return not isinstance(value, bool) and -(2**31) <= value < 2**32
    dtype = keras.backend.standardize_dtype(getattr(value, "dtype", "float32"))
    return "int" in dtype and not len(value.shape)


_MAY_BE_EMPTY = contextvars.ContextVar("may_be_empty", default=True)


@contextlib.contextmanager
def never_empty():
    """Makes TensorFlow graphs that are built inside for one image at least.

    Serving a batch of none takes a condition, which LiteRT files are better without.
    """
    token = _MAY_BE_EMPTY.set(False)
    try:
        yield
    finally:
        _MAY_BE_EMPTY.reset(token)


_PASSES_OF_ONE = contextvars.ContextVar("passes_of_one", default=False)


@contextlib.contextmanager
def passes_of_one_image():
    """Lets as many passes run as one batch as of a single image, whatever the batch.

    The number of passes in a batch is then known, and where all of them fit into the
    memory there is no loop: for runtimes that optimize no bodies of loops.
    """
    token = _PASSES_OF_ONE.set(True)
    try:
        yield
    finally:
        _PASSES_OF_ONE.reset(token)


def images_that_count(batch):
    """Returns of how many images passes are put together; see `passes_of_one_image`."""
    return 1 if _PASSES_OF_ONE.get() else batch


def at_least_one(images):
    """Returns images, or one of zeros where there is none.

    Without an image some kernels fail, and others lose the shape of their outputs.

    Args:
        images: Tensor of shape `(batch, *image_shape)`.
    """
    batch, *sides = ops.shape(images)
    if isinstance(batch, int):
        return images if batch else ops.zeros((1, *sides), images.dtype)
    if keras.backend.backend() != "tensorflow" or not _MAY_BE_EMPTY.get():
        return images  # JAX takes the unknown size of an export to be positive.
    import tensorflow as tf

    # A condition passes images on as they are; padding would copy them.
    row = tf.stack([1, *sides])
    rows = tf.cond(
        tf.equal(batch, 0), lambda: tf.zeros(row, images.dtype), lambda: images
    )
    return tf.ensure_shape(rows, images.shape)
