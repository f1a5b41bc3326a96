"""Arrays in `.npy` files that are written range by range."""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np


def create(path: str | os.PathLike, shape: tuple[int, ...], dtype: np.dtype):
    """Makes a file of an array of zeros, which takes no room until it is written.

    An older file of that name is not written to, for it may be mapped.
    """
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    pathlib.Path(path).unlink(missing_ok=True)
    with open(path, "xb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + dtype.itemsize * int(np.prod(shape)))


@contextlib.contextmanager
def opened(
    folder: str | os.PathLike, layout: Mapping[str, tuple[tuple[int, ...], np.dtype]]
) -> Iterator[dict[str, "ArrayFile"]]:
    """Opens files that `create` made.

    Args:
        folder: Where `<name>.npy` lies, for each name.
        layout: The shape and the type of each array.

    Yields:
        An `ArrayFile` for each name.
    """
    with contextlib.ExitStack() as stack:
        yield {
            name: ArrayFile(
                stack.enter_context(open(pathlib.Path(folder, f"{name}.npy"), "rb+")),
                shape,
                dtype,
            )
            for name, (shape, dtype) in layout.items()
        }


class ArrayFile:
    """The file of an array of shape `(examples,)` or `(sizes, examples, ...)`.

    It is written and not mapped: a full disk is then an error in place of a signal, and
    the pages do not count as memory of the process.

    Args:
        file: Open, as `create` made it.
        shape: Shape of the array.
        dtype: Type of the array.
    """

    def __init__(self, file, shape: tuple[int, ...], dtype: np.dtype):
        self.file, self.dtype = file, dtype
        self.examples = shape[0] if len(shape) == 1 else shape[1]
        self.row = dtype.itemsize * int(np.prod(shape[2:]))
        size = dtype.itemsize * int(np.prod(shape))
        self.start = os.fstat(file.fileno()).st_size - size

    def write(self, values: np.ndarray, first: int):
        """Writes `(sizes, count, ...)` values of the examples from `first` on."""
        for number, part in enumerate(values):
            self.file.seek(self.start + self.row * (number * self.examples + first))
            self.file.write(np.ascontiguousarray(part, self.dtype))

    def sync(self):
        """Returns when what was written is on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
