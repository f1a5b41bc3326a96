"""Data sets of a few images in the layouts of TensorFlow Datasets."""

from unittest import mock

import numpy as np


def prepare(name, data_dir, splits, file_format="tfrecord", shards=2):
    """Writes a data set where TensorFlow Datasets would have prepared it.

    Args:
        name: Name of a registered set, possibly with a configuration.
        data_dir: The folder.
        splits: For each split, pairs of an image, an array or an open file that is
            stored as it is, and a label.
        file_format: Format of the files.
        shards: How many files make a split.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir, file_format=file_format)

    def examples(pairs):
        for number, (image, label) in enumerate(pairs):
            others = {"file_name": "", "id": str(number), "coarse_label": 0}
            example = {"image": image, "label": label, **others}
            yield f"{number:04}", {key: example[key] for key in builder.info.features}

    def split_generators(self, *_):
        return {split: examples(pairs) for split, pairs in splits.items()}

    config = tfds.download.DownloadConfig(num_shards=shards)
    with mock.patch.object(type(builder), "_split_generators", split_generators):
        builder.download_and_prepare(download_config=config)


def colors(count, sizes=((40, 30),), seed=0, num_classes=10):
    """Returns pairs of an image of one random color and a label."""
    rng = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        height, width = sizes[number % len(sizes)]
        color = rng.integers(0, 256, 3, np.uint8)
        image = np.broadcast_to(color, (height, width, 3)).copy()
        pairs.append((image, int(rng.integers(num_classes))))
    return pairs
