"""Pickles, of which plain values and a given list of stand-ins are built, no more.

A pickle is a program that may call any function. Here every class and function that it
names must be in a table, which has a stand-in for it: nothing is imported, and nothing
that a stand-in makes can be changed by the program.
"""

import io
import pickle
import pickletools
import struct
import warnings
from collections.abc import Callable, Mapping

import numpy as np

# What a program that is damaged or not a pickle raises.
_ERRORS = (
    *(pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError),
    *(TypeError, ValueError, OverflowError, MemoryError, RecursionError, struct.error),
)
_PUT = ("PUT", "BINPUT", "LONG_BINPUT")


class RefusedError(ValueError):
    """A pickle names a class or function that is not in the table."""


def load(
    file: io.BytesIO,
    name: object,
    allowed: Mapping[str, object],
    persistent: Callable | None = None,
    encoding: str = "bytes",
):
    """Reads one pickle.

    Args:
        file: Open at the beginning of the pickle, and then behind its end.
        name: What an error calls the file.
        allowed: What stands for a class or function, by its full name, for example
            `"numpy.dtype"`: a function that is called in its place, or a string.
        persistent: A function of a persistent identifier to what it stands for; by
            default there must be none.
        encoding: Encoding of the strings of Python 2; `"bytes"` leaves them as they
            are.

    Returns:
        Numbers, strings, bytes, lists, tuples, dicts and sets, and what the stand-ins
        returned.

    Raises:
        RefusedError: If the pickle names anything else; the message has the name.
        ValueError: If it is damaged.
    """
    try:
        with warnings.catch_warnings():
            # Of escape sequences in a damaged string, which are nobody's code.
            warnings.simplefilter("ignore", DeprecationWarning)
            begin = file.tell()
            _check_memo(file)
            file.seek(begin)
            reader = _Reader(file, name, allowed, persistent, encoding)
            return reader.load()
    except RefusedError:
        raise
    except _ERRORS as error:
        raise ValueError(
            f"'{name}' is truncated, altered or not a pickle: {error}"
        ) from error


def _check_memo(file):
    """Refuses a number of the memo that no writer gives: a list is made that long."""
    for count, (opcode, value, _) in enumerate(pickletools.genops(file)):
        if opcode.name in _PUT and value > count:
            raise pickle.UnpicklingError(
                f"item {value} of the memo after {count} codes"
            )


class _Reader(pickle.Unpickler):
    def __init__(self, file, name, allowed, persistent, encoding):
        super().__init__(file, encoding=encoding)
        self._name, self._allowed, self._persistent = name, allowed, persistent

    def find_class(self, module, name):
        """Returns the stand-in for a class or function."""
        full = f"{module}.{name}"
        if full not in self._allowed:
            raise RefusedError(
                f"'{self._name}' holds an object of '{full}', which is not unpickled: "
                "loading it could run any program."
            )
        found = self._allowed[full]
        return _Sealed(found) if callable(found) else found

    def persistent_load(self, pid):
        """Returns what a persistent identifier stands for."""
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to another file")
        return self._persistent(pid)


class _Sealed:
    """A function that a pickle can call and do nothing else with."""

    __slots__ = ("_function",)

    def __init__(self, function):
        object.__setattr__(self, "_function", function)

    def __call__(self, *args):
        return self._function(*args)

    def __setattr__(self, name, value):
        raise pickle.UnpicklingError("it changes a function")

    def __setstate__(self, state):
        raise pickle.UnpicklingError("it changes a function")


class Finished:
    """What stand-ins return, if a pickle is not to change it."""

    def __setstate__(self, state):
        raise pickle.UnpicklingError(f"it changes a {type(self).__name__}")


class Dict(dict):
    """Stands for a dict with attributes, such as `collections.OrderedDict`."""

    __slots__ = ()

    def __setstate__(self, state):
        """Leaves the attributes out."""


class Array:
    """Stands for a NumPy array of numbers while it is being read.

    Attributes:
        value: The array.
    """

    __slots__ = ("value",)

    def __setstate__(self, state):
        _, shape, dtype, fortran, content = state
        if not (isinstance(dtype, _DType) and isinstance(content, bytes)):
            raise pickle.UnpicklingError("an array of other things than numbers")
        flat = np.frombuffer(content, dtype.value)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


class _DType:
    __slots__ = ("value",)

    def __init__(self, code, *_):
        code = code.decode("ascii") if isinstance(code, bytes) else code
        self.value = np.dtype(code)
        if self.value.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {code}")

    def __setstate__(self, state):
        _, order, *others = state[:5]
        if any(other is not None for other in others):
            raise pickle.UnpicklingError("an array of records")
        order = order.decode("ascii") if isinstance(order, bytes) else order
        self.value = self.value.newbyteorder(order)


def encode(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which bytes are written in old pickles."""
    if encoding not in ("latin1", "latin-1", b"latin1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding}")
    return text.encode("latin1")


# What arrays of NumPy are made of.
ARRAYS = {
    "numpy.core.multiarray._reconstruct": lambda *_: Array(),
    "numpy._core.multiarray._reconstruct": lambda *_: Array(),
    "numpy.ndarray": "ndarray",
    "numpy.dtype": _DType,
    "_codecs.encode": encode,
}
