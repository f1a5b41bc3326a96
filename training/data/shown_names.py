"""Names of data sets in tables: short, and different for different data."""

import os
import pathlib
from collections.abc import Sequence

from training.data import loading
from training.data.loading import KNOWN
from training.data.readers import number_files


def shown(names: Sequence[str]) -> dict[str, str]:
    """Returns what tables and files call data sets.

    A folder is called by the end of its path, by so many of its parts as tell it from
    other folders and from sets that are no folders.

    Args:
        names: What `training.data.load` takes.

    Returns:
        Their shown names, by the given ones.

    Example:

    >>> shown(["fashion_mnist_c/fog/3"])
    {'fashion_mnist_c/fog/3': 'fashion_mnist_c/fog/3'}
    """
    bases = {name: loading.base_of(name) for name in names}
    folders = {b: _parts(b) for b in bases.values() if _is_place(b)}
    taken = {(base,) for base in (*bases.values(), *KNOWN) if base not in folders}
    titles = {base: _title(parts, folders, taken) for base, parts in folders.items()}
    return {
        name: titles.get(base, base) + name.removeprefix(base)
        for name, base in bases.items()
    }


def _is_place(base):
    return pathlib.Path(base).is_dir() or number_files.exists(base)


def _parts(folder):
    return pathlib.Path(os.path.abspath(folder)).parts[1:]


def _title(parts, folders, taken):
    """Returns the shortest end of a path that is of no other folder or set."""
    others = {other for other in folders.values() if other != parts}
    for count in range(1, len(parts)):
        end = parts[-count:]
        if end not in taken and all(other[-count:] != end for other in others):
            return "/".join(end)
    return "/".join(parts)
