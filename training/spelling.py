"""Names of data sets, checked before anything is computed."""

import difflib
import pathlib
from collections.abc import Sequence

from training import data, names

# Beside those with a reader of their own, for a name that is misspelled.
_COMMON = ("cifar10", "cifar100", "svhn_cropped", "kmnist", "imagenet2012")
KNOWN = (*data.NAMED, *_COMMON)


def check_names(datasets: Sequence[str]):
    """Checks names of data sets before anything is computed.

    Raises:
        ValueError: If one looks like a known one and is none.
    """
    for name in datasets:
        base = (names.split(name) or (name,))[0]
        if base in data.NAMED or "/" in base or pathlib.Path(base).is_dir():
            continue
        close = difflib.get_close_matches(
            base, (*data.NAMED, *_COMMON), n=1, cutoff=0.8
        )
        if close and base not in _COMMON and not _is_of_tfds(base):
            raise ValueError(
                f"Unknown data set '{base}'. Did you mean '{close[0]}'? Known: "
                f"{', '.join(data.NAMED)}, those of TensorFlow Datasets, and folders."
            )


def _is_of_tfds(name):
    import tensorflow_datasets as tfds

    return name in tfds.list_builders(with_community_datasets=False)
