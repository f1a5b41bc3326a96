"""Images in the record files of TensorFlow Datasets, decoded when they are indexed."""

import hashlib
import io
import os
import pathlib
import struct
from collections.abc import Sequence

import numpy as np

from training.data import fingerprint, image_data
from training.data.readers import image_files
from zoo.storage import download, files

_HEADER, _FOOTER = struct.calcsize("<QI"), struct.calcsize("<I")


class RecordImages:
    """Images inside of record files.

    Args:
        records: Gives the encoded image and the label of an example when it is indexed.
        image_shape: Shape of the decoded images.
        resize: Whether the images have other shapes, and become RGB of this one.
        paths: Paths of the files.
    """

    def __init__(self, records, image_shape, resize: bool, paths):
        self.shape = (len(records), *image_shape)
        self._records, self._resize, self._paths = records, resize, paths

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        return image_files.decoded(self._decode, index, self.shape)

    def _decode(self, index):
        place = range(len(self))[index]
        content, _ = self._records[place]
        name = f"record {place}"
        if self._resize:
            return image_files.decode_image(io.BytesIO(content), self.shape[1:3], name)
        pixels = image_files.read_pixels(io.BytesIO(content), self.shape[-1], name)
        return pixels.reshape(self.shape[1:])

    def fingerprint(self) -> str:
        """Returns what changes when the contents of the files or the shape do."""
        return f"{fingerprint.of_files(self._paths)} {self.shape}"


class TFRecords:
    """The records of TFRecord files, which can be addressed by a number.

    Args:
        paths: The files.
        places: Integer array of shape `(records, 2)`: the number of the file, and
            where in it the record begins.
        keys: The names of the image and the label in an example.
    """

    def __init__(self, paths: Sequence[pathlib.Path], places: np.ndarray, keys):
        self._paths, self._places, self._keys = paths, places, keys

    def __len__(self):
        return len(self._places)

    def __getitem__(self, index):
        file, offset = self._places[index]
        with open(self._paths[file], "rb") as opened:
            opened.seek(offset)
            (length,) = struct.unpack("<Q", opened.read(_HEADER)[:8])
            return _parse(opened.read(length), self._keys)


class SourceRecords:
    """The records of a source of TensorFlow Datasets with images that stay encoded.

    Args:
        source: Gives a dict when it is indexed.
        keys: The names of the image and the label in it.
    """

    def __init__(self, source, keys):
        self._source, self._keys = source, keys

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        example = self._source[index]
        return tuple(example[key] for key in self._keys)


def load(
    paths: Sequence[pathlib.Path],
    source,
    keys: tuple[str, str],
    image_shape: tuple[int, int, int],
    resize: bool,
):
    """Opens the record files of a split.

    The first time, this takes a pass over the files for the labels and the positions,
    which are cached in `records/` of the cache, `ZOO_CACHE` or `~/.cache/smoothzoo`.

    Args:
        paths: The files.
        source: Gives their examples, undecoded; None for TFRecord files.
        keys: The names of the image and the label in an example.
        image_shape: Shape of the images.
        resize: Whether the images in the files have other shapes.

    Returns:
        A `RecordImages`, and the labels.

    Raises:
        ValueError: If a file is truncated.
    """
    states = [(path, os.stat(path)) for path in paths]
    state = "\n".join(f"{path} {s.st_size} {s.st_mtime_ns}" for path, s in states)
    state = hashlib.sha256(state.encode()).hexdigest()
    cached = download.cache_folder() / "records" / f"{state[:24]}.npy"
    if not cached.exists():
        places = _scan(paths, keys) if source is None else _labels(source, keys)
        with files.replacing(cached) as temporary, open(temporary, "wb") as file:
            np.save(file, places)
    places = image_data.read_npy(cached)
    if source is None:
        opened = TFRecords(paths, places[:, :2], keys)
    else:
        opened = SourceRecords(source, keys)
    return RecordImages(opened, image_shape, resize, paths), places[:, 2]


def _parse(record, keys):
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    return features[keys[0]].bytes_list.value[0], features[keys[1]].int64_list.value[0]


def _labels(source, keys):
    """Returns a row for each record that ends in its label."""
    records = SourceRecords(source, keys)
    rows = [(0, index, records[index][1]) for index in range(len(records))]
    return np.array(rows, "int64")


def _scan(paths, keys):
    """Returns the file, the position and the label of each record of TFRecords."""
    found = []
    for number, path in enumerate(paths):
        size = path.stat().st_size
        with open(path, "rb") as file:
            while (offset := file.tell()) < size:
                header = file.read(_HEADER)
                whole = len(header) == _HEADER
                length = struct.unpack("<Q", header[:8])[0] if whole else size
                if offset + _HEADER + length + _FOOTER > size:
                    raise ValueError(
                        f"'{path}' is truncated. Delete its folder and prepare the "
                        "data set again."
                    )
                _, label = _parse(file.read(length), keys)
                found.append((number, offset, label))
                file.seek(_FOOTER, os.SEEK_CUR)
    return np.array(found, "int64").reshape(-1, 3)
