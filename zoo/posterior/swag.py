"""Averages of the weights along a training, and a Gaussian of them."""

import collections
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np
from keras import ops

import layers
from layers import compilation
from layers.batch_statistics import batch_normalizations, measuring, pooled
from layers.random import fold, normal
from zoo import outputs
from zoo.classifier import classes_of
from zoo.posterior import examples
from zoo.posterior.base import Posterior, at_least_one, ranking_of
from zoo.posterior.deep_ensemble import DeepEnsemble
from zoo.posterior.monte_carlo import MonteCarlo, network_of
from zoo.posterior.pixels import takes_bytes
from zoo.posterior.sample_loop import run_all


class Averages(Posterior):
    """Base class of posteriors of networks whose weights are made of snapshots.

    Args:
        model: From images to logits; its weights do not matter. It must not draw.
        shapes: Shapes of what is made of the snapshots, from the number of weights.
        num_samples: How many networks.
        num_images: How many images the batch statistics are of, at most.
        seed: Of nothing, as no sample is drawn by a call.
    """

    adapts_to = ("train",)
    takes_snapshots = True
    rank = 0

    def __init__(
        self,
        model: keras.Model | MonteCarlo,
        shapes: Callable[[int], Mapping[str, tuple[int, ...]]],
        num_samples: int,
        num_images: int,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        model = network_of(model)
        self.num_samples = layers.checks.check_count(num_samples, "num_samples")
        self.num_images = layers.checks.check_count(num_images, "num_images")
        self.model = model
        self.num_classes = model.output_shape[-1]
        self.map_shape = tuple(model.output_shape[1:-1])
        self.image_shape = tuple(model.input_shape[1:])
        self.takes_bytes = takes_bytes(model)
        self.ranks_by = ranking_of(model)
        passes = MonteCarlo(model, 1)
        self._unknown = tuple(passes.unknown_layers)
        if not passes.repeats_itself and not self._unknown:
            raise self._drawing()
        self._is_collected = False
        self.num_weights = _count(_averaged(model))
        for name, shape in shapes(self.num_weights).items():
            self._add(name, shape, "uint32" if name == "draw_key" else "float32")
        if size := _count(_moving(model)):
            self._add("statistics", (self.num_samples, size))
        self._predict = compilation.Compiled(self._samples, self, not self._unknown)
        self._step = None  # Compiled when it is needed.

    def flat(self, values, number):
        """Returns all weights of a sample as one row.

        Args:
            values: Those of `adapted_weights` by name.
            number: Number of the sample, an integer or a scalar tensor.
        """
        raise NotImplementedError

    def moments(self):
        """Returns what `collect` adds each row of weights to, and solves at the end."""
        return Moments(self.num_weights, self.rank)

    def settings(self) -> dict[str, object]:
        """Returns the arguments of the constructor behind the model."""
        return {"num_images": self.num_images}

    @classmethod
    def from_models(cls, models: Sequence, num_samples: int = 10, **settings):
        """Returns a posterior of this kind, as `model@name` means it.

        Args:
            models: A Keras model, whose snapshots `collect` takes; or several of one
                architecture, which are the snapshots.
            num_samples: Draws of the weights.
            **settings: Further arguments of the constructor.
        """
        made = cls._of_size(models[0], num_samples, **settings)
        if len(models) > 1:
            made.collect([getattr(model, "model", model) for model in models])
        return made

    @classmethod
    def _of_size(cls, model, num_samples, **settings):
        return cls(model, **settings)

    @property
    def task(self) -> str:
        return outputs.task_of(self.model)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; empty if not known."""
        return classes_of(self.model)

    @property
    def draws(self) -> bool:
        return False  # What is drawn was drawn by `adapt`.

    @property
    def unknown_layers(self) -> list[str]:
        return list(self._unknown)

    def collect(self, snapshots: Iterable[keras.Model]):
        """Takes the weights of the training; `adapt` follows.

        Args:
            snapshots: Models of the same architecture, in the order of the training.
                One model may be given again and again, with other weights each time.

        Raises:
            ValueError: If there are none, one has other weights or one is not finite.
        """
        found, wanted = self.moments(), _outline(self.model)
        for number, snapshot in enumerate(snapshots):
            if _outline(snapshot) != wanted:
                raise ValueError(
                    f"All snapshots must have the weights of '{self.model.name}'. "
                    f"Received: snapshot {number}, '{snapshot.name}', with others"
                )
            arrays = map(ops.convert_to_numpy, _averaged(snapshot))
            weights = np.concatenate([array.ravel() for array in arrays])
            if not np.isfinite(weights).all():
                raise ValueError(
                    "The weights of snapshots must be finite. Received: snapshot "
                    f"{number}, '{snapshot.name}', with NaN or infinity"
                )
            found.add(weights.astype("float64"))
        if not found.count:
            raise ValueError(
                "A mean of weights is that of one snapshot at least. Received: 0 "
                "snapshots"
            )
        # The statistics are those of other weights now.
        self._is_fitted = self._is_collected = False
        for name, value in found.solve().items():
            if name in self.adapted_weights:
                getattr(self, name).assign(value)
        self._is_collected = True

    def learned(self, dataset, labels, batch_size, seed, validation):
        self.check_collected()
        sample = examples.RandomSample(self.num_images, seed)
        for images, _ in self.labeled(dataset, labels, batch_size):
            sample.add(images)
        values = {k: ops.convert_to_numpy(v) for k, v in self.values().items()}
        if "draw_key" in values:
            values["draw_key"] = np.array([seed], "uint32")
        if "statistics" in values:
            images = np.stack(sample.rows)
            self.is_deterministic(images[:8])
            order = np.random.default_rng(seed).permutation(len(images))
            parts = np.array_split(images[order], -(-len(images) // batch_size))
            key = values.get("draw_key", np.zeros(1, "uint32"))
            values["statistics"] = np.stack(
                [self._measured(parts, key, n) for n in range(self.num_samples)]
            )
        return values

    def check_collected(self):
        """Checks that there are snapshots.

        Raises:
            ValueError: If there are none.
        """
        if not self._is_collected:
            raise ValueError(
                f"The posterior '{self.name}' has no snapshots of a training: call its "
                "`collect` with them, or load it from the folder of a training whose "
                "recipe has `snapshots`."
            )

    def assign(self, values: Mapping[str, object]):
        super().assign(values)
        self._is_collected = True

    def call(self, images, seed=None, offset=0):
        if not self.is_adapted:
            raise ValueError(
                f"The posterior '{self.name}' has no batch statistics of its weights "
                "yet: call its `collect` and then its `adapt` with images of the "
                "training."
            )
        return super().call(images, seed, offset)

    def sample(self, images, key, offset):
        rows = at_least_one(images)
        samples = self._predict((rows,), ())
        return samples if rows is images else samples[:, : ops.shape(images)[0]]

    def weights_of(self, number: int) -> dict[str, np.ndarray]:
        """Returns the weights of a sample by their paths in the model.

        Args:
            number: Integer in `[0, num_samples)`.
        """
        self.check_collected()
        pairs = _split(_averaged(self.model), self.flat(self.values(), number))
        return {v.path: ops.convert_to_numpy(value) for v, value in pairs}

    def members(self, change=lambda model: model) -> list[keras.Model]:
        """Returns a model for each sample, with its weights and batch statistics.

        Args:
            change: From each of these to one in its place.
        """
        made = []
        for number in range(self.num_samples):
            config = keras.saving.serialize_keras_object(self.model)
            model = keras.saving.deserialize_keras_object(config)
            model.set_weights(self.model.get_weights())
            own = [*_averaged(model), *_moving(model)]
            values = [value for _, value in self._values_of(number)]
            for variable, value in zip(own, values, strict=True):
                variable.assign(value)
            made.append(change(model))
        return made

    def is_deterministic(self, images) -> bool:
        if self._unknown and not MonteCarlo(self.model, 1).is_deterministic(images):
            raise self._drawing()
        return True

    def probe_once(self, images):
        self.is_deterministic(images[:8])

    def settled(self, change=lambda model: model):
        members = self.members(change)
        if len(members) == 1:
            return MonteCarlo(members[0], 1, name=self.name).settled()
        return DeepEnsemble([MonteCarlo(m, 1) for m in members], name=self.name)

    def get_config(self):
        model = keras.saving.serialize_keras_object(self.model)
        own = {"model": model, **self.settings(), "is_fitted": self._is_fitted}
        own["is_collected"] = self._is_collected
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        state = "is_fitted", "is_collected"
        arguments = {key: v for key, v in config.items() if key not in state}
        model = keras.saving.deserialize_keras_object(config["model"])
        made = cls(**{**arguments, "model": model})
        made._is_fitted = config.get("is_fitted", False)
        made._is_collected = config.get("is_collected", False)
        return made

    def _add(self, name, shape, dtype="float32"):
        variable = self.add_weight(
            shape=shape,
            initializer="zeros",
            dtype=dtype,
            trainable=False,
            autocast=False,
            name=name,
        )
        setattr(self, name, variable)
        self.adapted_weights = (*self.adapted_weights, name)

    def _values_of(self, number):
        """Returns pairs of a variable and its value in a sample."""
        values = self.values()
        pairs = _split(_averaged(self.model), self.flat(values, number))
        if "statistics" in values:
            statistics = ops.convert_to_tensor(values["statistics"])
            row = ops.take(statistics, number, axis=0)
            pairs += _split(_moving(self.model), row)
        return pairs

    def _with(self, pairs):
        """Makes the model compute with other values of its variables inside."""
        # An inner scope sees nothing of an outer one, so it has all of them.
        held = {id(v): (v, ops.convert_to_tensor(v)) for v in self.model.variables}
        held |= {id(v): (v, ops.cast(value, v.dtype)) for v, value in pairs}
        return keras.StatelessScope(state_mapping=list(held.values()))

    def _samples(self, images):
        shape = self.num_samples, ops.shape(images)[0]
        shape = *shape, *self.map_shape, self.num_classes

        def run(numbers):
            with self._with(self._values_of(numbers[0])):
                logits = self.model(images, training=False)
            return ops.cast(logits, "float32")[None]

        return run_all(run, shape, 1)[0]

    def _measured(self, parts, key, number):
        """Returns the batch statistics of a sample, as one row."""
        if self._step is None:
            self._step = compilation.program(self._moments, owner=self)
        norms = batch_normalizations(self.model)
        noted = [[] for _ in norms]
        for part in parts:
            arguments = part, key, np.int32(number)
            found = self._step(*map(ops.convert_to_tensor, arguments))
            for own, new in zip(noted, found, strict=True):
                own += [[ops.convert_to_numpy(x) for x in moments] for moments in new]
        pairs = [pooled(*pair) for pair in zip(norms, noted, strict=True)]
        return np.concatenate([np.concatenate(pair) for pair in pairs])

    def _moments(self, images, key, number):
        norms = batch_normalizations(self.model)
        noted = [[] for _ in norms]
        flat = self.flat({**self.values(), "draw_key": key}, number)
        pairs = _split(_averaged(self.model), flat)
        with self._with(pairs), measuring(norms, noted):
            self.model(images, training=False)
        return noted

    def _drawing(self):
        return ValueError(
            f"`{type(self).__name__}` is of a network that does not draw. Received: "
            f"model={self.model.name}"
        )


@keras.saving.register_keras_serializable(package="zoo")
class SWA(Averages):
    """The network with the mean of the weights at several times of its training.

    These times are the ends of epochs at a learning rate that does not fall to zero.
    Training keeps the weights where a recipe asks for `snapshots`. `collect` takes
    them; `adapt` then takes the images of the training, of which a random sample
    renews the statistics of batch normalization, that belong to no snapshot. Labels do
    not matter.

    Args:
        model: From images to logits; its weights do not matter. It must not draw.
        num_images: How many images the batch statistics are of, at most.
        seed: Of nothing, as no sample is drawn by a call.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(1, batch, num_classes)`, or with an axis more for each of a map.

    Example:

    >>> import numpy as np
    >>> import zoo
    >>> models = [zoo.build("resnet20", (32, 32, 3), num_classes=2) for _ in range(3)]
    >>> posterior = SWA.from_models(models, num_images=8)
    >>> images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3))
    >>> posterior.adapt(images, labels=np.arange(8) % 2)
    >>> tuple(posterior(images).shape)
    (1, 8, 2)

    Reference:
        [Averaging Weights Leads to Wider Optima and Better Generalization](
        https://arxiv.org/abs/1803.05407) (Izmailov et al., 2018).
    """

    repeats_itself = True

    def __init__(
        self,
        model: keras.Model | MonteCarlo,
        num_images: int = 2048,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(
            model, lambda count: {"mean": (count,)}, 1, num_images, seed, **kwargs
        )

    def flat(self, values, number):
        return ops.convert_to_tensor(values["mean"])


@keras.saving.register_keras_serializable(package="zoo")
class SWAG(Averages):
    """Draws of the weights from a Gaussian of the weights along a training.

    Its mean is that of the snapshots, and its covariance is

        scale (diag(variance) + D D^T)

    with the variance of each weight over all snapshots, and columns of `D` that are the
    last snapshots less the mean, divided by the root of their number less one: `D D^T`
    is their covariance. (The authors subtract the mean up to then, and divide by the
    largest number of columns less one.) `adapt` draws the weights by its seed, and
    renews the batch statistics of each draw; predictions are those of these networks,
    whatever their seed.

    Args:
        model: From images to logits; its weights do not matter. It must not draw.
        num_samples: How many draws of the weights.
        rank: How many of the last snapshots give columns of `D`, two or more; with 0
            the covariance is diagonal.
        scale: Factor of the covariance; with 0 each draw is the mean. By default it is
            that of the authors: 0.5, and 1 where the covariance is diagonal.
        num_images: How many images the batch statistics are of, at most.
        seed: Of nothing, as no sample is drawn by a call.

    Output shape: `(num_samples, batch, num_classes)`.

    Reference:
        [A Simple Baseline for Bayesian Uncertainty in Deep Learning](
        https://arxiv.org/abs/1902.02476) (Maddox et al., 2019), section 3.
    """

    def __init__(
        self,
        model: keras.Model | MonteCarlo,
        num_samples: int = 10,
        rank: int = 20,
        scale: float | None = None,
        num_images: int = 2048,
        seed: int | None = None,
        **kwargs,
    ):
        rank = _check_rank(rank)
        published = 0.5 if rank else 1.0
        scale = _check_scale(published if scale is None else scale)

        def shapes(count):
            columns = {"deviations": (rank, count)} if rank else {}
            moments = {"mean": (count,), "variance": (count,)}
            return {**moments, **columns, "draw_key": (1,)}

        super().__init__(model, shapes, num_samples, num_images, seed, **kwargs)
        self.rank, self.scale = rank, scale
        self.form = f"scale {scale}"

    @classmethod
    def _of_size(cls, model, num_samples, **settings):
        return cls(model, **{"num_samples": num_samples, **settings})

    def settings(self):
        return {
            "num_samples": self.num_samples,
            "rank": self.rank,
            "scale": self.scale,
            **super().settings(),
        }

    def weight_variance(self) -> dict[str, np.ndarray]:
        """Returns the variance of each weight by the paths in the model.

        It is the diagonal of the covariance.

        Raises:
            ValueError: If there are no snapshots yet.
        """
        self.check_collected()
        values = {k: ops.convert_to_numpy(v) for k, v in self.values().items()}
        columns = values.get("deviations", np.zeros((0, self.num_weights)))
        variance = values["variance"] + np.square(columns).sum(axis=0)
        pairs = _split(_averaged(self.model), self.scale * variance)
        return {v.path: ops.convert_to_numpy(value) for v, value in pairs}

    def flat(self, values, number):
        key = fold(ops.convert_to_tensor(values["draw_key"])[0], number)
        own = normal(fold(key, 0), (self.num_weights,))
        found = ops.sqrt(ops.convert_to_tensor(values["variance"])) * own
        if self.rank:
            shared = normal(fold(key, 1), (self.rank,))
            found = found + ops.matmul(shared, values["deviations"])
        return values["mean"] + math.sqrt(self.scale) * found


class Moments:
    """Mean, variance and last deviations of rows that come one by one.

    Args:
        size: Numbers in a row.
        rank: How many of the last rows to keep.
    """

    def __init__(self, size: int, rank: int):
        self.count, self.rank = 0, rank
        self.mean, self._squares = np.zeros(size), np.zeros(size)
        self._last = collections.deque(maxlen=rank)

    def add(self, row: np.ndarray):
        """Adds a row, a float64 array of shape `(size,)`."""
        self.count += 1
        before = row - self.mean
        self.mean += before / self.count
        self._squares += before * (row - self.mean)
        self._last.append(row.astype("float32"))

    def solve(self) -> dict[str, np.ndarray]:
        """Returns `mean`, `variance` and `deviations`.

        The last are of shape `(rank, size)`: of the last rows less the mean, divided by
        the root of their number less one, and zeros where there are fewer.
        """
        deviations = np.zeros((self.rank, len(self.mean)), "float32")
        if len(self._last) > 1:
            root = math.sqrt(len(self._last) - 1)
            for place, row in enumerate(self._last):
                deviations[place] = (row - self.mean) / root
        variance = self._squares / self.count
        return {"mean": self.mean, "variance": variance, "deviations": deviations}


def _averaged(model):
    """Returns the weights that are averaged: all but counters and batch statistics."""
    moving = {id(variable) for variable in _moving(model)}
    return [
        variable
        for variable in model.weights
        if keras.backend.is_float_dtype(variable.dtype) and id(variable) not in moving
    ]


def _moving(model):
    """Returns the batch statistics, of each layer the mean and the variance."""
    return [
        variable
        for layer in batch_normalizations(model)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


def _count(variables) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def _outline(model):
    """Returns kind and shape of the weights that are averaged."""
    variables = _averaged(model)
    return [(v.path.rpartition("/")[2], tuple(v.shape)) for v in variables]


def _split(variables, row):
    """Returns pairs of a variable and its part of a row, of its shape."""
    pairs, start = [], 0
    for variable in variables:
        end = start + math.prod(variable.shape)
        pairs.append((variable, ops.reshape(row[start:end], variable.shape)))
        start = end
    return pairs


def _check_rank(rank):
    whole = isinstance(rank, numbers.Integral) and not isinstance(rank, bool)
    if not whole or rank < 0 or rank == 1:
        raise ValueError(
            "`rank` must be 0 or a number of snapshots from two on, as one has no "
            f"deviation. Received: rank={rank}"
        )
    return int(rank)


def _check_scale(scale):
    if not (layers.checks.is_number(scale) and 0 <= scale < math.inf):
        raise ValueError(
            f"`scale` must be zero or positive, and finite. Received: scale={scale}"
        )
    return float(scale)
