"""What posteriors share that learn from the features before the last layer."""

import types
import zlib
from collections.abc import Iterator, Mapping

import keras
import numpy as np
from keras import ops

from layers.compilation import Compiled
from zoo import outputs
from zoo.classifier import classes_of
from zoo.posterior import curvature
from zoo.posterior.base import Posterior
from zoo.posterior.graph_split import LastLayer
from zoo.posterior.maps import at_once, examples
from zoo.posterior.monte_carlo import MonteCarlo, network_of
from zoo.posterior.pixels import takes_bytes


class LastLayerPosterior(Posterior):
    """Base class of posteriors that learn from the features of one trained network.

    The features are the inputs of its last layer, one row for each image, or for each
    pixel of a network with logits for each pixel; a pixel without a label counts
    nowhere. The network must not draw, and what was learned is of its weights alone, by
    their `fingerprint`.

    Subclasses call `learn` with the weights that `adapt` sets, and implement `sample`,
    `learned` and `settings`, further arguments of the constructor.

    Args:
        model: From images to logits, with a `keras.layers.Dense` at its end.
        seed: Makes the calls without a seed reproducible.

    Raises:
        ValueError: If the model draws, or does not end with such a layer.
    """

    adapts_to = ("train",)
    learns = ""  # What, for an error.
    tasks = ("classification", "segmentation")
    behind: tuple[type, ...] = ()  # Layers that may follow on the last one.

    def __init__(
        self, model: keras.Model | MonteCarlo, seed: int | None = None, **kwargs
    ):
        super().__init__(seed, **kwargs)
        model = network_of(model)
        self.model = model
        self.num_classes = model.output_shape[-1]
        self.map_shape = tuple(model.output_shape[1:-1])
        self.image_shape = tuple(model.input_shape[1:])
        self.takes_bytes = takes_bytes(model)
        self.check_task()
        self.last = LastLayer(model, self.behind)
        if self.last.draws:
            raise self._drawing()
        self._features = Compiled(self._features_of, self, not self.last.unknown)

    def learn(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        dtypes: Mapping[str, str] = types.MappingProxyType({}),
    ):
        """Makes the weights that `adapt` sets.

        Args:
            shapes: Their shapes by name.
            dtypes: Types of those that are not float32.
        """
        for name, shape in {**shapes, "fingerprint": (1,)}.items():
            variable = self.add_weight(
                shape=shape,
                initializer="zeros",
                dtype={"fingerprint": "uint32", **dtypes}.get(name, "float32"),
                trainable=False,
                autocast=False,
                name=name,
            )
            setattr(self, name, variable)
        self.adapted_weights = (*shapes, "fingerprint")

    def settings(self) -> dict[str, object]:
        """Returns the arguments of the constructor behind the model."""
        return {}

    @property
    def task(self) -> str:
        return outputs.task_of(self.model)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of the logits; empty if not known."""
        return classes_of(self.model)

    @property
    def unknown_layers(self) -> list[str]:
        return self.last.unknown

    def call(self, images, seed=None, offset=0):
        self.check_adapted()
        return super().call(images, seed, offset)

    def assign(self, values: Mapping[str, object]):
        shapes = {name: tuple(v.shape) for name, v in self.values().items()}
        given = {name: np.shape(value) for name, value in values.items()}
        if given != shapes:
            raise ValueError(
                f"The posterior '{self.name}' has weights of the shapes {shapes}. "
                f"Received: {given}"
            )
        own = fingerprint(self.model)
        if not np.array_equal(values["fingerprint"], own):
            raise ValueError(
                f"'{self.model.name}' has other weights than those that the posterior "
                f"was adapted with; adapt it anew. Received: fingerprint="
                f"{int(np.ravel(values['fingerprint'])[0])}, of these weights "
                f"{int(own[0])}"
            )
        super().assign(values)

    def probe_once(self, images):
        self.is_deterministic(images[:1])

    def is_deterministic(self, images) -> bool:
        if self.last.unknown and not MonteCarlo(self.model, 1).is_deterministic(images):
            raise self._drawing()
        return not self.draws

    def settled(self, change=lambda model: model):
        made = type(self)(change(self.model), name=self.name, **self.settings())
        Posterior.assign(made, self.values())  # The change may be one of weights.
        return made

    def get_config(self):
        model = keras.saving.serialize_keras_object(self.model)
        own = {"model": model, **self.settings(), "is_fitted": self._is_fitted}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        arguments = {key: v for key, v in config.items() if key != "is_fitted"}
        model = keras.saving.deserialize_keras_object(config["model"])
        made = cls(**{**arguments, "model": model})
        made._is_fitted = config.get("is_fitted", False)
        return made

    def features(self, images) -> np.ndarray:
        """Returns the features of a batch, `(batch, *map_shape, num_features)`."""
        return ops.convert_to_numpy(self._features((images,), ()))

    def inputs(
        self, dataset, labels, batch_size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields `inputs_of` and labels, of images or of labeled pixels; see `adapt`.

        Raises:
            ValueError: If there are no labeled images, a label is missing, or a feature
                is not finite.
        """
        for features, of_images in self.maps_of_inputs(dataset, labels, batch_size):
            yield from examples(features, of_images)

    def maps_of_inputs(
        self, dataset, labels, batch_size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields `inputs_of` and labels, of maps as maps and a few at once."""
        batches = self.labeled(dataset, labels, batch_size)
        for number, (images, of_images) in enumerate(batches):
            self._check_labels(of_images)
            if not number:
                self.is_deterministic(images[:8])
            step = at_once(self.map_shape, self.last.num_features, len(images))
            for start in range(0, len(images), step):
                rows = slice(start, start + step)
                yield self.inputs_of(images[rows], number), of_images[rows]

    def inputs_of(self, images: np.ndarray, number: int) -> np.ndarray:
        """Returns what is learned from of a batch; here its features.

        Args:
            images: Array of shape `(batch, *image_shape)`.
            number: That of the batch, for the error.

        Raises:
            ValueError: If a feature is not finite.
        """
        features = self.features(images)
        check_finite(features, self.model.name, number)
        return features

    def check_counts(self, counts: np.ndarray, needed: int = 1):
        """Checks that there were images, or pixels, of each class.

        Args:
            counts: Integer array of shape `(num_classes,)`.
            needed: How many of a class there must be.

        Raises:
            ValueError: If there were fewer.
        """
        if (counts < needed).any():
            few = np.flatnonzero(counts < needed)
            named = [self.classes[k] if self.classes else str(k) for k in few[:3]]
            least = "some" if needed == 1 else f"{needed} or more"
            said = "none" if needed == 1 else "fewer"
            what = "labeled pixels" if self.map_shape else "images"
            raise ValueError(
                f"Among the training images there must be {least} of each class of the "
                f"model. Received: {counts.sum()} {what}, and {said} of {len(few)} "
                f"of {len(counts)} classes, such as {', '.join(named)}"
            )

    def check_adapted(self):
        """Checks that it has learned what it needs to know.

        Raises:
            ValueError: If it has not.
        """
        if not self.is_adapted:
            raise ValueError(
                f"The posterior '{self.name}' has not learned {self.learns} yet: call "
                "its `adapt` with images of the training."
            )

    def _check_labels(self, labels):
        if labels.shape[1:] != self.map_shape:
            raise ValueError(
                f"'{self.model.name}' needs labels of shape "
                f"{('images', *self.map_shape)}. Received: labels.shape={labels.shape}"
            )

    def _drawing(self):
        return ValueError(
            f"`{type(self).__name__}` is for a network that does not draw, whose "
            "features are those of its weights; take the plain one, or '@mc'. "
            f"Received: model={self.model.name}"
        )

    def _features_of(self, images):
        return ops.cast(self.last.features(images), "float32")


class GaussianWeights(LastLayerPosterior):
    """Base class of those with a Gaussian posterior of weights around the trained ones.

    Subclasses learn `prior_precision`, `log_likelihood` and eigenvalues of the
    curvature, whose names begin with `curvature`, and implement `square_norm`.
    """

    def square_norm(self, values: Mapping) -> float:
        """Returns the sum of the squares of the trained weights that are Gaussian.

        Args:
            values: What was learned.
        """
        raise NotImplementedError

    def log_marginal_likelihood(self, prior_precision: float | None = None) -> float:
        """Returns how probable the training labels are, in nats; see `curvature`.

        Args:
            prior_precision: By default that of the posterior.
        """
        self.check_adapted()
        values = self.values()
        own = float(ops.convert_to_numpy(self.prior_precision))
        return curvature.log_evidence(
            float(ops.convert_to_numpy(self.log_likelihood)),
            _eigenvalues(values),
            own if prior_precision is None else prior_precision,
            self.square_norm(values),
        )

    def best_prior_precision(self, values: Mapping) -> float | None:
        """Returns that of the largest marginal likelihood; None if none is best.

        Args:
            values: What was learned.
        """
        norm = self.square_norm(values)
        return curvature.best_prior_precision(_eigenvalues(values), norm)


def _eigenvalues(values) -> np.ndarray:
    """Returns all eigenvalues of the curvature in one row."""
    found = [v for name, v in values.items() if name.startswith("curvature")]
    return np.concatenate([np.ravel(ops.convert_to_numpy(v)) for v in found])


def check_finite(features: np.ndarray, name: str, number: int):
    """Checks the features of a batch.

    Args:
        features: Array with the images as first axis.
        name: That of the model, for the error.
        number: That of the batch, for the error.

    Raises:
        ValueError: If one is not finite.
    """
    is_finite = np.isfinite(features).reshape(len(features), -1).all(axis=1)
    if bad := np.count_nonzero(~is_finite):
        raise ValueError(
            f"The features of '{name}', the inputs of its last layer, must be finite. "
            f"Received: NaN or infinity in {bad} of {len(features)} images of batch "
            f"{number}"
        )


def fingerprint(model: keras.Model) -> np.ndarray:
    """Returns a checksum of the weights of a model, of shape `(1,)`."""
    found = 0
    for variable in model.weights:
        if keras.backend.is_float_dtype(variable.dtype):
            array = ops.convert_to_numpy(ops.cast(variable, "float32"))
            found = zlib.crc32(np.ascontiguousarray(array), found)
    return np.array([found], "uint32")
