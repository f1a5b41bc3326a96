"""What models from outside the zoo take and give, and whether it is what is said."""

from collections.abc import Sequence

import numpy as np

from zoo import outputs as model_outputs

# What an output is, and the names by which it is found.
NAMES = {"logits": ("logits",), "probs": ("probabilities", "probs")}


def checked(outputs: str, input_range: Sequence[float]) -> tuple[float, float]:
    """Returns the range of pixels that a model takes, as two numbers.

    Args:
        outputs: What it returns, a key of `NAMES`.
        input_range: Two numbers, which may be text.

    Raises:
        ValueError: If either is something else.
    """
    if outputs not in NAMES:
        raise ValueError(
            f"`outputs` must be one of {', '.join(NAMES)}. Received: outputs={outputs}"
        )
    try:
        values = tuple(map(float, input_range))
    except ValueError:
        values = tuple(input_range)
    numbers = all(isinstance(value, float) for value in values)
    if not numbers or len(values) != 2 or not values[0] < values[1]:
        raise ValueError(
            "`input_range` must be two numbers, the smaller one first, as 0,1. "
            f"Received: input_range={values}"
        )
    return values


def noise(image_shape: Sequence[int | None]) -> np.ndarray:
    """Returns eight images of noise, to see what a model gives for them.

    Args:
        image_shape: `(height, width, channels)`; of None, sides become 64, and there
            are three channels.
    """
    *sides, channels = image_shape
    shape = (8, *(side or 64 for side in sides), channels or 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype("uint8")


def check(found, outputs: str, name: str, rounded: bool = False):
    """Checks that outputs are what they are said to be.

    Args:
        found: Array of shape `(batch, ..., num_classes)`, of images of noise.
        outputs: A key of `NAMES`.
        name: What errors call the model.
        rounded: Whether probabilities need not sum to one, see `as_logits`.

    Raises:
        ValueError: If they are not.
    """
    found = np.asarray(found, "float64")
    if found.ndim > 2:  # Pixels that are equal say no more than one of them.
        found = np.unique(found.reshape(-1, found.shape[-1]), axis=0)
    are_probs = model_outputs.are_probabilities(
        _normalized(found) if rounded else found
    )
    if are_probs != (outputs == "probs"):
        seems, sums = "probs" if are_probs else "logits", found.sum(axis=1)
        raise ValueError(
            f"Model '{name}' returns {seems}: on random images, values from "
            f"{found.min():.3g} to {found.max():.3g} with sums from "
            f"{sums.min():.3g} to {sums.max():.3g}. Received: outputs={outputs}"
        )


def as_logits(found: np.ndarray, outputs: str, rounded: bool = False) -> np.ndarray:
    """Returns float32 logits: what is found, or the logarithms of probabilities.

    Args:
        found: Array of shape `(..., num_classes)`.
        outputs: What they are, a key of `NAMES`.
        rounded: Whether probabilities have so few bits that they need not sum to one.
            They are divided by their sum then.
    """
    if outputs == "logits":
        return found.astype("float32")
    probs = _normalized(found) if rounded else found
    return np.log(np.maximum(probs, np.finfo("float32").tiny)).astype("float32")


def _normalized(probs):
    """Divides rows by their sums, where these are one but for rounding."""
    sums = probs.sum(axis=-1, keepdims=True)
    return np.where(
        np.abs(sums - 1) < _ROUNDING, probs / np.where(sums, sums, 1), probs
    )


_ROUNDING = 0.2  # Ten classes, each rounded by 1/256 at most, and more of them.
