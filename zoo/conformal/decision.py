"""What every decision is: a layer from probabilities to a mask of classes."""

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

    Input shape: `(batch, num_classes)`, of probabilities.

    Output shape: Same as the input, of booleans.
    """

    stochastic = False
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
            probs: Checked float32 array of shape `(examples, num_classes)`.
            labels: Integer array of shape `(examples,)`.
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
                the decision will see.
            labels: Integer array of shape `(examples,)`.
            seed: Seed of what is drawn, an integer of 32 bits.

        Raises:
            ValueError: If these are no probabilities and labels, or too few.
        """
        shape = outputs.check_numbers(probs, "`probs`")
        if len(shape) != 2 or not shape[0] or shape[1] < 2:
            raise ValueError(
                "`probs` must have the shape (examples, num_classes), with one example "
                "and two classes at least; pixels of one image do not count as "
                f"examples, for they are alike. Received: probs.shape={shape}"
            )
        probs = np.asarray(probs, "float32")
        outputs.check_probs(probs)
        labels = outputs.check_labels(labels, shape)
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
            outputs.check_probs(ops.convert_to_numpy(probs).astype("float64"))
        probs = ops.cast(probs, "float32")
        noise = None
        if self.draws:
            key = self.next_key() if seed is None else seed
            noise = _uniform(key, offset, ops.shape(probs)[0])
        return self.scores(probs, noise, self.values()) <= self.threshold

    def summary(self, probs) -> dict:
        """Returns what an export says beside the probabilities.

        Args:
            probs: Tensor of shape `(batch, num_classes)`.

        Returns:
            `prediction_set`, a mask of that shape; `set_size`, the int32 number of
            classes in it, and what is promised by its name, both of shape `(batch,)`.
        """
        mask = self(probs)
        name, value = self.promise
        return {
            "prediction_set": mask,
            "set_size": ops.sum(ops.cast(mask, "int32"), axis=-1),
            name: ops.full_like(probs[:, 0], value),
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
        """Returns the scores of the labels of all examples; see `all_scores`."""
        found, first = [], 0
        for scores in self.all_scores(probs, values, seed):
            own = labels[first : first + len(scores)]
            found.append(scores[np.arange(len(own)), own])
            first += len(own)
        return np.concatenate(found)

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
