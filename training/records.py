"""Images in the record files of TensorFlow Datasets, decoded when they are indexed."""

import hashlib
import io
import os
import pathlib
import struct
from collections.abc import Sequence

import numpy as np

from training import folders, images
from zoo import download, files

_HEADER, _FOOTER = struct.calcsize("<QI"), struct.calcsize("<I")


class RecordImages:
    """Images inside of record files.

    Args:
        records: Gives the bytes of an example when it is indexed.
        key: The name of the image in an example.
        image_shape: Of the decoded images.
        resize: Whether the images have other shapes, and become RGB of this one.
        state: What changes when the files do.
    """

    def __init__(self, records, key: str, image_shape, resize: bool, state: str):
        self.shape = (len(records), *image_shape)
        self._records, self._key, self._resize = records, key, resize
        self._state = state

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        return folders.decoded(self._decode, index, self.shape)

    def _decode(self, index):
        place = range(len(self))[index]
        content = _example(self._records[place])[self._key].bytes_list.value[0]
        name = f"record {place}"
        if self._resize:
            return folders.decode_image(io.BytesIO(content), self.shape[1:3], name)
        pixels = folders.read_pixels(io.BytesIO(content), name)
        return pixels.reshape(self.shape[1:])

    def fingerprint(self) -> str:
        """Returns what changes when the files or the shape do."""
        return f"{self._state} {self.shape}"


class TFRecords:
    """The records of TFRecord files, which can be addressed by a number.

    Args:
        paths: The files.
        places: Integer array of shape `(records, 2)`: the number of the file, and
            where in it the record begins.
    """

    def __init__(self, paths: Sequence[pathlib.Path], places: np.ndarray):
        self._paths, self._places = paths, places

    def __len__(self):
        return len(self._places)

    def __getitem__(self, index):
        file, offset = self._places[index]
        with open(self._paths[file], "rb") as opened:
            opened.seek(offset)
            (length,) = struct.unpack("<Q", opened.read(_HEADER)[:8])
            return opened.read(length)


def load(
    paths: Sequence[pathlib.Path],
    file_format: str,
    keys: tuple[str, str],
    image_shape: tuple[int, int, int],
    resize: bool,
):
    """Opens the record files of a split.

    The first time, this takes a pass over the files for the labels and the positions,
    which are kept in `records/` of the cache, `ZOO_CACHE` or `~/.cache/smoothzoo`.

    Args:
        paths: The files.
        file_format: `"tfrecord"` or `"array_record"`.
        keys: The names of the image and the label in an example.
        image_shape: Of the images.
        resize: Whether the images in the files have other shapes.

    Returns:
        A `RecordImages`, and the labels.

    Raises:
        ValueError: If a file is truncated, or of another format.
    """
    if file_format not in ("tfrecord", "array_record"):
        raise ValueError(
            "Images that do not fit into memory are read from files of the formats "
            f"tfrecord and array_record alone. Received: file_format={file_format}"
        )
    states = [(path, os.stat(path)) for path in paths]
    state = "\n".join(f"{path} {s.st_size} {s.st_mtime_ns}" for path, s in states)
    state = hashlib.sha256(state.encode()).hexdigest()
    kept = download.cache_folder() / "records" / f"{state[:24]}.npy"
    opened = _array_records(paths) if file_format == "array_record" else None
    if not kept.exists():
        places = _scan(paths, keys[1]) if opened is None else _labels(opened, keys[1])
        with files.replacing(kept) as temporary, open(temporary, "wb") as file:
            np.save(file, places)
    places = images.read_npy(kept)
    opened = opened or TFRecords(paths, places[:, :2])
    return RecordImages(opened, keys[0], image_shape, resize, state), places[:, 2]


def _array_records(paths):
    from array_record.python import array_record_data_source

    return array_record_data_source.ArrayRecordDataSource([str(p) for p in paths])


def _example(record):
    import tensorflow as tf

    return tf.train.Example.FromString(record).features.feature


def _label(record, key):
    return _example(record)[key].int64_list.value[0]


def _labels(records, key):
    """Returns a row for each record that ends in its label."""
    labels = [_label(records[index], key) for index in range(len(records))]
    return np.array([(0, index, label) for index, label in enumerate(labels)], "int64")


def _scan(paths, key):
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
                found.append((number, offset, _label(file.read(length), key)))
                file.seek(_FOOTER, os.SEEK_CUR)
    return np.array(found, "int64").reshape(-1, 3)
