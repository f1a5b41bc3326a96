"""What a runtime runs: a function of arrays, and what is known of it."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

# What a file may take beside images: the seed of its draws, and how many passes to
# average, both int32 scalars.
SCALARS = "seed", "num_samples"


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that a runtime or a server runs.

    Attributes:
        run: From images, an array of shape `(batch, *image_shape)`, and a seed, an
            integer of 32 bits, to arrays by the names of the outputs.
        outputs: The names of the outputs.
        image_shape: `(height, width, channels)`, with None for any size.
        content: Returns the SHA-256 of what it is, wherever it lies and whatever it is
            called.
        dtype: Type that `run` takes: `"float32"`, or one of whole numbers.
        batch: How many images a call must have; None for any number.
        takes_seed: Whether draws follow the seed.
        num_samples: Forward passes that a call averages; None if that is not known.
        sample: From images, a seed and a number of passes to the probabilities of each
            of these, of shape `(num_samples, batch, num_classes)`; None where there are
            means alone.
        classes: Names of the classes; empty if they are not known.
        is_rounded: Whether outputs have so few bits that probabilities need not sum to
            one.
        is_served: Whether `content` is what a server says of it, rather than a file.
    """

    run: Callable[[np.ndarray, int], Mapping[str, np.ndarray]]
    outputs: tuple[str, ...]
    image_shape: tuple[int | None, ...]
    content: Callable[[], str]
    dtype: str = "float32"
    batch: int | None = None
    takes_seed: bool = False
    num_samples: int | None = None
    sample: Callable[[np.ndarray, int, int], np.ndarray] | None = None
    classes: tuple[str, ...] = ()
    is_rounded: bool = False
    is_served: bool = False


def image_input(inputs: Iterable[str], place: str) -> str:
    """Returns the name of the input for images, the only one that is no scalar.

    Args:
        inputs: The names of all inputs.
        place: What has them.

    Raises:
        ValueError: If there is another number of them.
    """
    found = [name for name in inputs if name not in SCALARS]
    if len(found) != 1:
        raise ValueError(
            f"'{place}' must take one batch of images, and at most "
            f"{' and '.join(SCALARS)} beside it. Received: inputs {sorted(inputs)}"
        )
    return found[0]


def image_shape(shape: Sequence[int | None], place: str) -> tuple[int | None, ...]:
    """Returns the shape of one image, with None for any size.

    Args:
        shape: That of a batch; sides that are no positive integers have any size.
        place: What takes it.

    Raises:
        ValueError: If these are no images, or have their channels first.
    """
    sides = tuple(side if _is_size(side) else None for side in shape)
    has_them_first = len(sides) == 4 and sides[1] in (1, 3) and (sides[3] or 0) > 4
    if len(sides) != 4 or has_them_first:
        raise ValueError(
            f"'{place}' must take images of shape (batch, height, width, channels). "
            f"Received: {sides}"
        )
    return tuple(None if side is None else int(side) for side in sides[1:])


def batch_size(shape: Sequence[int | None]) -> int | None:
    """Returns how many images a batch has; None for any number."""
    return int(shape[0]) if _is_size(shape[0]) else None


def _is_size(side):
    return isinstance(side, (int, np.integer)) and side > 0


def scalars(names: Iterable[str], seed: int, num_samples: int) -> dict:
    """Returns the scalars that a file takes, by name.

    Args:
        names: The names of all inputs.
        seed: The seed of the draws.
        num_samples: How many passes to average.
    """
    values = dict(zip(SCALARS, (seed, num_samples), strict=True))
    return {name: np.array(values[name], "int32") for name in SCALARS if name in names}


def passes(names: Iterable[str], said, asked: int) -> int | None:
    """Returns how many forward passes a call averages, or None if that is not known.

    Args:
        names: The names of all inputs.
        said: What the file says, a number as text or nothing.
        asked: What is given to a file that takes it.
    """
    if "num_samples" in names:
        return asked
    return int(said) if said else None


def check_file(path: str | os.PathLike):
    """Checks that there is a file.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file '{path}'.")
