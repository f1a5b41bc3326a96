"""Checks of constructor arguments that several layers share."""

import numbers
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np


def check_choice(value: str | None, name: str, known: Iterable[str | None]):
    """Returns the value if it is known; raises a ValueError if not."""
    known = tuple(known)  # A list has no hash.
    if value not in known:
        names = ", ".join(map(str, known))
        raise ValueError(f"`{name}` must be one of {names}. Received: {name}={value}")
    return value


def check_padding(padding: str, known: Sequence[str]) -> str:
    """Returns the padding if it is known; raises a ValueError if not."""
    return check_choice(padding, "padding", known)


def check_count(value: int, name: str) -> int:
    """Returns the number if it is a positive integer; raises a ValueError if not."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 1:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value}"
        )
    return int(value)


def is_number(value) -> bool:
    """Returns whether something is a real number, which NaN is too."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_groups(groups: int, channels: int, filters: int) -> None:
    """Raises a ValueError if inputs and outputs cannot be put into that many groups."""
    if channels % groups or filters % groups:
        raise ValueError(
            "`groups` must divide the number of channels and `filters`. Received: "
            f"groups={groups}, channels={channels}, filters={filters}"
        )


def check_scale(value: float, name: str) -> float:
    """Returns a standard deviation if it is positive; raises a ValueError if not."""
    if not (is_number(value) and 0 < value < float("inf")):
        raise ValueError(
            f"`{name}` is a standard deviation and must be positive and finite. "
            f"Received: {name}={value}"
        )
    return value


def check_positive(value: float, name: str) -> float:
    """Returns the number if it is positive and finite; raises a ValueError if not."""
    if not (is_number(value) and 0 < value < float("inf")):
        raise ValueError(
            f"`{name}` must be positive and finite. Received: {name}={value}"
        )
    return value


def check_seed(seed: int) -> int:
    """Returns the number if it is an integer of 32 bits; raises a ValueError if not."""
    whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
    if not (whole and 0 <= seed < 2**32):
        raise ValueError(
            f"`seed` must be an integer in [0, 2**32). Received: seed={seed}"
        )
    return seed


def check_pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    """Returns a positive number for height and one for width.

    Args:
        value: Both, or one number for both.
        name: The argument's name, for the error.

    Returns:
        The two, as Python integers.

    Raises:
        ValueError: If there are others than one or two positive integers.
    """
    pair = np.asarray(value)
    whole = np.issubdtype(pair.dtype, np.integer) and np.all(pair > 0)
    if not whole or pair.shape not in ((), (2,)):
        raise ValueError(
            f"`{name}` must be one positive integer, or two for height and width. "
            f"Received: {name}={value}"
        )
    return tuple(np.broadcast_to(pair, 2).tolist())


def check_filter(size: int, name: str, shape: Sequence[int | None]) -> None:
    """Raises a ValueError if a filter is larger than its map.

    Args:
        size: Side of the filter, in points.
        name: The argument's name, for the error.
        shape: That of the maps, `(batch, height, width, channels)`; sides that are not
            known are not checked.

    Raises:
        ValueError: If a side is smaller than the filter.
    """
    sides = [side for side in shape[1:3] if isinstance(side, int)]
    if sides and size > min(sides):
        raise ValueError(
            f"A filter of {size} x {size} points is larger than its map; make it "
            "smaller, or place it where maps are larger. Received: "
            f"{name}={size}, maps of {shape[1]} x {shape[2]}"
        )


def check_channels_last(kwargs: Mapping) -> None:
    """Raises a ValueError where images would have their channels first.

    Args:
        kwargs: The keyword arguments that a layer was constructed with.

    Raises:
        ValueError: If they hold a `data_format`, or Keras is set to channels first.
    """
    if "data_format" in kwargs:
        raise ValueError(
            "Images have their channels last, so there is no `data_format` to choose; "
            f"leave it out. Received: data_format={kwargs['data_format']}"
        )
    if (data_format := keras.config.image_data_format()) != "channels_last":
        raise ValueError(
            "Images must have their channels last; call "
            '`keras.config.set_image_data_format("channels_last")`. '
            f"Received: keras.config.image_data_format()={data_format}"
        )
