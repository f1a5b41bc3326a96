"""Posteriors that correct the mean prediction of another one."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from zoo import arrays, outputs, predictive
from zoo.posterior.around import Around
from zoo.posterior.base import SPLITS, Posterior, joined_splits
from zoo.posterior.deep_ensemble import DeepEnsemble
from zoo.posterior.maps import some_pixels
from zoo.posterior.monte_carlo import as_posterior


class NoBestFitError(ValueError):
    """The images have no best fit: it would get better and better without end."""


class Correction(Around):
    """Base class of posteriors that map the mean prediction of another to a new one.

    The samples are pooled first. A subclass names its weights in `adapted_weights`, and
    implements `pool`, `fit` and `scale`.

    Args:
        posterior: A model, or a posterior.
        seed: Makes the calls without a seed reproducible.

    Output shape: `(1, batch, num_classes)`.
    """

    def __init__(
        self, posterior: keras.Model | Posterior, seed: int | None = None, **kwargs
    ):
        super().__init__(seed, **kwargs)
        self.wrap(as_posterior(posterior))

    def pool(self, samples):
        """Returns the mean prediction of samples, in the form that `scale` takes."""
        raise NotImplementedError

    def few(self, pooled: np.ndarray, labels: np.ndarray):
        """Returns what `fit` takes of some examples, in float64; here all of it."""
        return pooled.astype("float64"), labels

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the values of `adapted_weights` that fit labeled predictions best.

        Args:
            logits: float64 array of shape `(examples, ..., num_classes)`, of `pool`.
            labels: Integer array of shape `(examples, ...)`.

        Raises:
            NoBestFitError: If there are none.
        """
        raise NotImplementedError

    def scale(self, logits, values: Mapping[str, object]):
        """Returns what comes out, of the shape of the logits.

        Args:
            logits: Tensor or float64 array of shape `(batch, ..., num_classes)`.
            values: What `fit` returns, or the weights themselves.
        """
        raise NotImplementedError

    @classmethod
    def from_models(cls, models: Sequence, num_samples: int = 10, **settings):
        if len(models) > 1:
            return cls(DeepEnsemble(models), **settings)
        return cls(as_posterior(models[0], num_samples), **settings)

    @property
    def draws(self) -> bool:
        return self.posterior.draws

    @property
    def takes_gradients(self) -> bool:
        return self.posterior.takes_gradients

    @property
    def runs_elsewhere(self) -> bool:
        return self.posterior.runs_elsewhere

    @property
    def unknown_scores(self) -> tuple[str, ...]:
        return self.posterior.unknown_scores

    @property
    def is_adapted(self) -> bool:
        return super().is_adapted and self.posterior.is_adapted

    def sample(self, images, key, offset):
        samples = self.posterior(images, seed=key, offset=offset)
        return self.scale(self.pool(samples), self.values())[None]

    def of(self, posterior):
        made = type(self)(posterior, name=self.name)
        made.assign(self.values())
        return made

    @property
    def adapts_to(self) -> tuple[str, ...]:
        """Images for the scaler, and before them those for what it scales."""
        inside = [] if self.posterior.is_adapted else [self.posterior]
        return joined_splits([*inside, super()])

    def learned(self, dataset, labels, batch_size, seed, validation):
        has_both = self.adapts_to == SPLITS
        if not self.posterior.is_adapted:
            part = self._part_for(self.posterior, dataset, labels, validation)
            images, own, more = part
            self.posterior.adapt(images, own, batch_size, seed, more)
        if has_both:
            dataset, labels = validation, None
        found, offset = [], 0
        for images, of_images in self.labeled(dataset, labels, batch_size):
            samples = self.posterior(images, seed=seed, offset=offset)
            pooled = ops.convert_to_numpy(self.pool(samples))
            found.append(self.few(pooled, of_images))
            offset += len(images)
        logits, labels = map(np.concatenate, zip(*found, strict=True))
        return self.fit(logits, labels)

    def get_config(self):
        values = {k: ops.convert_to_numpy(v).tolist() for k, v in self.values().items()}
        own = {
            "posterior": keras.saving.serialize_keras_object(self.posterior),
            "is_fitted": self._is_fitted,
            "values": values,
        }
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        own = {"is_fitted", "values"}
        arguments = {key: v for key, v in config.items() if key not in own}
        posterior = keras.saving.deserialize_keras_object(config["posterior"])
        made = cls(**{**arguments, "posterior": posterior})
        is_fitted = config.get("is_fitted", made._is_fitted)
        made.assign({**made.values(), **config.get("values", {})})
        made._is_fitted = is_fitted
        return made

    def add_learned(self, name: str, start):
        """Returns a new float32 weight for what `fit` learns, which is not trained.

        Args:
            name: That in `adapted_weights`.
            start: Array of the values that change nothing.
        """
        start = np.asarray(start, "float32")
        return self.add_weight(
            shape=start.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(start, dtype),
            dtype="float32",
            trainable=False,
            autocast=False,
            name=name,
        )


class Scaler(Correction):
    """Base class of posteriors that map the logits of a mean prediction to others.

    The samples are pooled first, for a mean of calibrated predictions is not
    calibrated. A subclass names its weights in `adapted_weights`, and implements `fit`
    and `scale`, which need no images: whoever has stored predictions can fit and scale
    these, at any number of passes.

    Args:
        posterior: A model from images to logits, or a posterior.
        seed: Makes the calls without a seed reproducible.

    Output shape: `(1, batch, num_classes)`.
    """

    tasks = ("classification", "segmentation")

    def pool(self, samples):
        return pooled(samples)

    def few(self, pooled, labels):
        return thinned(pooled, labels)

    def logits(self, images):
        if self.posterior.num_samples > 1:
            return super().logits(images)
        return self.scale(self.posterior.logits(images), self.values())


def thinned(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what is fitted to: float64 logits and labels; see `maps.some_pixels`."""
    logits, labels = some_pixels(logits, labels)
    return logits.astype("float64"), labels


def check_fit(logits, labels) -> tuple[np.ndarray, np.ndarray]:
    """Returns checked logits and labels, in which every pixel is an example.

    Args:
        logits: Array of shape `(examples, ..., num_classes)`.
        labels: Integer array of shape `(examples, ...)`.

    Returns:
        float64 array of shape `(examples, num_classes)`, and integers, without pixels
        that have no label.

    Raises:
        ValueError: If these are no logits and labels.
    """
    outputs.check_numbers(logits, "`logits`")
    logits = np.asarray(logits, "float64")
    if logits.ndim not in (2, 4) or not len(logits):
        raise ValueError(
            "`logits` must have the shape (examples, num_classes), with one example at "
            f"least. Received: logits.shape={logits.shape}"
        )
    outputs.check_logits(logits[None])
    labels = outputs.check_labels(labels, logits.shape)
    logits, known = logits.reshape(len(labels), -1), labels != arrays.UNLABELED
    return (logits, labels) if known.all() else (logits[known], labels[known])


def check_every_class(labels: np.ndarray, num_classes: int):
    """Checks that there are images of every class.

    Args:
        labels: Integer array of one axis.
        num_classes: The number of classes.

    Raises:
        ValueError: If there is a class without any.
    """
    missing = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if len(missing):
        raise ValueError(
            "`labels` must have each class, for there is something to learn of each. "
            f"Received: {len(labels)} labels, and no image of "
            f"{len(missing)} classes, such as number {missing[0]}"
        )


def pooled(samples):
    """Returns logits of the mean prediction, of the level of the samples' logits.

    Args:
        samples: Logits of shape `(samples, batch, ..., num_classes)`.

    Returns:
        Logits of shape `(batch, ..., num_classes)`, of a single sample its own.
    """
    if samples.shape[0] == 1:
        return samples[0]
    level = ops.mean(ops.logsumexp(samples, axis=-1, keepdims=True), axis=0)
    return predictive.log_probs(samples) + level
