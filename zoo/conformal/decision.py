"""What every decision is: a layer from probabilities to a mask of classes."""

import math
from collections.abc import Iterator, Mapping

import keras
import numpy as np
from keras import ops

import layers
from layers import tracing
from zoo import outputs

_CHUNK = 2**18  # Probabilities whose scores are computed at once.


class Decision(layers.RandomLayer):
    """Base class of decisions, called as `decision(probs, seed=None, offset=0)`.

    A class is in the answer if its score is at most a threshold, which `adapt` learns
    from labeled images. The scores are the same float32 numbers then and later, so no
    rounding comes between the two. A subclass says by `promises` which of its
    arguments is the promise, and implements `scores` and `fit`.

    Args:
        seed: Makes the draws of randomized decisions reproducible; as of posteriors,
            what is drawn for an image depends on the seed of the call and the number of
            the image alone, which is `offset` plus its place in the batch.

    Input shape: `(batch, num_classes)`, of probabilities, or `(batch, height, width,
    num_classes)`.

    Output shape: Same as the input, of booleans.
    """

    stochastic = False
    takes_pixels = True  # Whether its promise can be one for the pixels of an image.
    # The argument that is promised.
    promises: str
    # Words before its name, and the arguments that they set to true.
    modifiers: Mapping[str, str] = {}
    # Names of attributes: the weights that `adapt` sets.
    adapted_weights: tuple[str, ...] = ("threshold",)

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(seed, autocast=False, **kwargs)
        self._is_fitted = False

    def build(self, input_shape):
        outputs.check_num_classes(input_shape[-1], f"probs.shape={input_shape}")
        for name in self.adapted_weights:
            weight = self.add_weight(
                shape=(input_shape[-1],),
                initializer="zeros",
                dtype="float32",
                trainable=False,
                autocast=False,
                name=name,
            )
            setattr(self, name, weight)

    def scores(self, probs, noise, values: Mapping[str, object]):
        """Returns how little each class fits.

        Args:
            probs: float32 tensor of shape `(batch, num_classes)`.
            noise: Of shape `(batch, 1)`, uniform in `[0, 1)`, or None if nothing is
                drawn.
            values: The weights, or what is to be theirs.

        Returns:
            Tensor of shape `(batch, num_classes)`.
        """
        raise NotImplementedError

    def fit(self, probs, labels, seed: int) -> dict[str, np.ndarray]:
        """Returns the values of `adapted_weights` for labeled predictions.

        Args:
            probs: Checked float32 array of shape `(examples, ..., num_classes)`.
            labels: Integer array of shape `(examples, ...)`, -1 for pixels without a
                label.
            seed: Seed of what is drawn.

        Raises:
            ValueError: If there are too few examples for the promise.
        """
        raise NotImplementedError

    @property
    def draws(self) -> bool:
        """Whether a seed makes a difference."""
        return False

    @property
    def promise(self) -> tuple[str, float]:
        """What is promised: its name and a number in (0, 1)."""
        return self.promises, getattr(self, self.promises)

    @property
    def is_adapted(self) -> bool:
        """Whether `adapt` was called."""
        return self._is_fitted

    def adapt(self, probs, labels, seed: int = 0):
        """Learns the threshold from predictions of labeled images.

        These must be images that the model has not been trained on, nor a temperature
        fitted to: of such images it knows too much, and the promise does not hold.

        Args:
            probs: Array of shape `(examples, num_classes)`, the mean probabilities that
                the decision will see; or `(images, height, width, num_classes)`, where
                each image is an example.
            labels: Integer array of shape `(examples,)`, or `(images, height, width)`,
                -1 for pixels without a label.
            seed: Seed of what is drawn, an integer of 32 bits.

        Raises:
            ValueError: If these are no probabilities and labels, or too few.
        """
        shape = outputs.check_numbers(probs, "`probs`")
        if len(shape) not in (2, 4) or 0 in shape or shape[-1] < 2:
            raise ValueError(
                "`probs` must have the shape (examples, num_classes), or (images, "
                "height, width, num_classes), with one example and two classes at "
                f"least. Received: probs.shape={shape}"
            )
        if len(shape) == 4 and not self.takes_pixels:
            raise ValueError(
                f"'{type(self).__name__}' counts errors among examples that are "
                "independent, and the pixels of an image are alike; a set for each "
                "pixel is promised by LAC, APS and RAPS, such as 'lac_90'. Received: "
                f"probs.shape={shape}"
            )
        probs = np.asarray(probs, "float32")
        if len(shape) == 2:
            outputs.check_probs(probs)
        else:
            for number, own in enumerate(probs):
                outputs.check_probs(_rows(own), f" of image {number}")
        labels = outputs.check_labels(labels, shape).reshape(shape[:-1])
        values = self.fit(probs, labels, seed)
        if not self.built:
            self.build(shape)
        self.assign(values)

    def values(self) -> dict[str, keras.Variable]:
        """Returns the weights that `adapt` sets, by the names of their attributes."""
        return {name: getattr(self, name) for name in self.adapted_weights}

    def assign(self, values: Mapping[str, object]):
        """Sets the weights that `adapt` would set."""
        for name, variable in self.values().items():
            variable.assign(values[name])
        self._is_fitted = True

    def call(self, probs, seed=None, offset=0):
        if not self.is_adapted:
            raise ValueError(
                f"The decision '{self.name}' promises nothing before it has seen "
                "labeled images: call its `adapt`."
            )
        if tracing.is_known(probs) and probs.shape[0]:
            known = ops.convert_to_numpy(probs).astype("float64")
            outputs.check_probs(_rows(known))
        probs, noise = ops.cast(probs, "float32"), None
        is_map = len(probs.shape) == 4
        rows = ops.reshape(probs, (-1, probs.shape[-1])) if is_map else probs
        if self.draws:
            key = self.next_key() if seed is None else seed
            first = offset * math.prod(probs.shape[1:-1])
            noise = _uniform(key, first, ops.shape(rows)[0])
        mask = self.scores(rows, noise, self.values()) <= self.threshold
        return ops.reshape(mask, ops.shape(probs)) if is_map else mask

    def summary(self, probs) -> dict:
        """Returns what an export says beside the probabilities.

        Args:
            probs: Tensor of shape `(batch, ..., num_classes)`.

        Returns:
            `prediction_set`, a mask of that shape; `set_size`, the int32 number of
            classes in it, of shape `(batch, ...)`; and what is promised by its name, of
            shape `(batch,)`.
        """
        mask = self(probs)
        name, value = self.promise
        return {
            "prediction_set": mask,
            "set_size": ops.sum(ops.cast(mask, "int32"), axis=-1),
            name: ops.full_like(probs[:, *[0] * (len(probs.shape) - 1)], value),
        }

    def all_scores(self, probs, values, seed: int) -> Iterator[np.ndarray]:
        """Yields the scores of all classes, for some examples after others.

        Args:
            probs: float32 array of shape `(examples, num_classes)`.
            values: See `scores`.
            seed: Seed of what is drawn.
        """
        step = max(_CHUNK // probs.shape[1], 1)
        for first in range(0, len(probs), step):
            part = ops.convert_to_tensor(probs[first : first + step])
            noise = _uniform(seed, first, len(part)) if self.draws else None
            yield ops.convert_to_numpy(self.scores(part, noise, values))

    def scores_of(self, probs, labels, values, seed: int) -> np.ndarray:
        """Returns the scores of the labels of all examples; see `all_scores`.

        Args:
            probs: float32 array of shape `(examples, ..., num_classes)`.
            labels: Integer array of shape `(examples, ...)`; what is returned for one
                of -1 has no meaning.
            values: See `scores`.
            seed: Seed of what is drawn.
        """
        found, first, flat = [np.empty(0, "float32")], 0, np.reshape(labels, -1)
        for scores in self.all_scores(_rows(probs), values, seed):
            own = flat[first : first + len(scores)]
            found.append(scores[np.arange(len(own)), own])
            first += len(own)
        return np.concatenate(found).reshape(np.shape(labels))

    def compute_output_spec(self, probs, seed=None, offset=0):
        return keras.KerasTensor(probs.shape, "bool")

    def get_config(self):
        values = self.values() if self.built else {}
        values = {k: ops.convert_to_numpy(v).tolist() for k, v in values.items()}
        own = {"values": values if self.is_adapted else None}
        own[self.promises] = getattr(self, self.promises)
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        arguments = {key: v for key, v in config.items() if key != "values"}
        made = cls(**arguments)
        if values := config.get("values"):
            made.build((None, len(values["threshold"])))
            made.assign(values)
        return made


def _rows(probs: np.ndarray) -> np.ndarray:
    """Returns an array whose pixels are rows."""
    return probs.reshape(-1, probs.shape[-1])


def check_share(value: float, name: str) -> float:
    """Returns a number if it is in (0, 1).

    Raises:
        ValueError: If it is another.
    """
    if not (layers.checks.is_number(value) and 0 < value < 1):
        raise ValueError(
            f"`{name}` must be between 0 and 1, without these two. "
            f"Received: {name}={value}"
        )
    return value


def _uniform(key, offset, count):
    """Returns a number in [0, 1) for each example, of shape `(count, 1)`."""
    numbers = layers.random.uint32(ops.arange(count, dtype="int32"))
    keys = layers.random.fold(key, numbers + layers.random.uint32(offset))
    # As many bits as float32 holds.
    drawn = ops.right_shift(layers.random.bits(keys, 1), np.uint32(8))
    return ops.cast(ops.cast(drawn, "int32"), "float32") * np.float32(2.0**-24)
