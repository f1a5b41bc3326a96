"""Devices whose memory is too small: what they raise, and what would fit."""

import contextlib
import os

import keras
from absl import logging

_SIGN = "RESOURCE_EXHAUSTED"  # In the messages of XLA.


def is_exhausted(error: BaseException) -> bool:
    """Returns whether an error says that the memory of a device is too small."""
    kinds = (type(error).__name__, str(error))
    return kinds[0] == "ResourceExhaustedError" or _SIGN in kinds[1]


def others() -> str:
    """Returns what to do where another process may have the memory, or nothing."""
    name = "XLA_PYTHON_CLIENT_MEM_FRACTION"
    if keras.backend.backend() != "jax" or name in os.environ:
        return ""
    return (
        " JAX takes three quarters of a device for each process: where another one "
        f"uses it too, give both a share, such as {name}=.4."
    )


def halved(error: Exception, size: int, what: str) -> int:
    """Returns half of a batch size where that was too large, and says so.

    Args:
        error: What a device has raised.
        size: Images of a batch.
        what: What there is too little memory for.

    Raises:
        Exception: The error, if it is another one, or of a single image.
    """
    if size == 1 or not is_exhausted(error):
        raise error
    logging.warning(
        "The device has too little memory %s; they are of %d from now on.%s",
        *(what, size // 2, others()),
    )
    return size // 2


@contextlib.contextmanager
def explained(batch_size: int):
    """Says what would fit where a device has too little memory for a training.

    Args:
        batch_size: Examples per step.

    Raises:
        MemoryError: In place of the error of the device.
    """
    try:
        yield
    except Exception as error:
        if not is_exhausted(error):
            raise
        raise MemoryError(
            "The device has too little memory for this training. "
            f"`--set=batch_size={max(batch_size // 2, 1)}` or `--mixed_precision` may "
            f"fit.{others()} Received: batch_size={batch_size}. The device said: "
            f"{str(error).splitlines()[0]}"
        ) from error
