"""Data sets that TensorFlow Datasets prepared."""

import importlib.util
import os
import pathlib
import re

import numpy as np
from absl import logging

from training.data import image_data
from training.data.readers import tfds_records
from zoo.storage import urls

# Their test sets have no labels.
_VALIDATED = {"imagenet2012", "imagenet2012_corrupted", "places365_small"}


def is_prepared(name: str, data_dir: str | None) -> bool:
    """Returns whether a data set lies in a folder of TensorFlow Datasets.

    Args:
        name: With its configuration: `"cifar10_corrupted/fog_3"`.
        data_dir: The folder; None for the usual one.
    """
    if not _may_be_prepared(name, data_dir):
        return False  # Without the seconds that their import takes.
    import tensorflow_datasets as tfds

    try:
        folder = _find(name, data_dir).data_path
        return (folder / "dataset_info.json").exists()
    except tfds.core.DatasetNotFoundError:
        return False


def _may_be_prepared(name, data_dir):
    usual = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = str(data_dir or usual)
    folder = pathlib.Path(root).expanduser() / name.partition("/")[0]
    return "://" in root or folder.is_dir()


def may_be(name: str, data_dir: str | None = None) -> bool:
    """Returns whether a name may be one of theirs, without the import of all of them.

    Each one of labeled images has a file or folder of its name in the package.

    Args:
        name: With its configuration or without.
        data_dir: The folder of those that are prepared; None for the usual one.
    """
    return _is_in_package(name) or _may_be_prepared(name, data_dir)


def _is_in_package(name):
    package, stems = importlib.util.find_spec("tensorflow_datasets"), set()
    for folder in package.submodule_search_locations if package else ():
        for _, folders, files in os.walk(folder):
            stems |= {*folders, *(file.partition(".")[0] for file in files)}
    return name.partition("/")[0] in stems


def is_known(name: str) -> bool:
    """Returns whether a name with a slash is a set and configuration of theirs."""
    if not re.fullmatch(r"[a-z0-9_]+/[\w.-]+", name) or not _is_in_package(name):
        return False
    import tensorflow_datasets as tfds

    base, _, config = name.partition("/")
    try:
        return config in tfds.builder_cls(base).builder_configs
    except tfds.core.DatasetNotFoundError:
        return False


def has_validation(name: str, data_dir: str | None) -> bool:
    """Returns whether a set, which is prepared, has labels for validation and testing.

    Raises:
        ValueError: If the data set is not known.
        FileNotFoundError: If it is not there and cannot be downloaded.
    """
    splits = _builder(name, data_dir).info.splits
    has_labels = name.partition("/")[0] not in _VALIDATED
    return has_labels and {"validation", "test"} <= set(splits)


def load(
    name: str,
    split: str,
    data_dir: str | None,
    image_size: tuple[int, int] = (224, 224),
) -> image_data.ImageData:
    """Loads a data set, which is downloaded and prepared if it is not there.

    Images of one size stay as they are. Others are resized and cropped as those of a
    folder. What would take more than 2 GB, and images of different sizes, are decoded
    when they are indexed. The first time, that takes a pass over the files for the
    labels and positions, which are cached in `records/` of the cache.

    Args:
        name: Name of the data set, possibly with a configuration.
        split: `"train"`, `"test"`, or `"validation"` where it is published. Without a
            test set, or with one that has no labels as for ImageNet, the validation set
            is for testing.
        data_dir: The folder of TensorFlow Datasets; None for the usual one.
        image_size: Height and width of images that have no size of their own.

    Returns:
        The images and labels.

    Raises:
        ValueError: If the data set is not known or not for image classification.
        FileNotFoundError: If it is not there and cannot be downloaded.
    """
    builder = _builder(name, data_dir)
    features, keys = builder.info.features, builder.info.supervised_keys
    if not _is_classification(features, keys):
        raise ValueError(f"Data set '{name}' is not one of labeled images.")
    if name.partition("/")[0] in _VALIDATED or split not in builder.info.splits:
        split = "validation" if split == "test" else split
    if split not in builder.info.splits:
        raise ValueError(
            f"Data set '{name}' has no split for that, only "
            f"{', '.join(builder.info.splits)}. Received: split={split}"
        )
    shape = features[keys[0]].shape
    count = builder.info.splits[split].num_examples
    if None in shape or count * np.prod(shape, dtype=np.int64) > image_data.LARGEST:
        pixels, labels = _indexed(builder, split, shape, image_size)
    else:
        pixels, labels = _in_memory(builder, split)
    return image_data.ImageData(
        name,
        pixels,
        labels.astype("int32"),
        tuple(features[keys[1]].names),
        source=f"TensorFlow Datasets {builder.info.full_name}",
    )


def _find(name, data_dir):
    """Finds a data set; that there is none is said by the error alone, not in a log."""
    import tensorflow_datasets as tfds

    level = logging.get_verbosity()
    logging.set_verbosity(min(level, logging.WARNING))
    try:
        return tfds.builder(name, data_dir=data_dir)
    finally:
        logging.set_verbosity(level)


def _builder(name, data_dir):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    downloader.MAX_RETRIES = 2  # Its own default waits minutes without a network.
    try:
        builder = _find(name, data_dir)
        builder.download_and_prepare()
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"Unknown data set '{name}': neither a folder nor one of TensorFlow "
            "Datasets. For example: fashion_mnist, cifar10, cifar100, path/to/folder."
        ) from error
    # An AssertionError: files that must be downloaded by hand are not there.
    except (OSError, AssertionError, tfds.download.DownloadError) as error:
        raise FileNotFoundError(
            f"Data set '{name}' is not in data_dir={data_dir} and cannot be downloaded "
            f"({type(error).__name__}). Without a network: for fashion_mnist install "
            "the Debian package dataset-fashion-mnist or give the folder of its four "
            "IDX files as data_dir; for others the folder where TensorFlow Datasets "
            "prepared them."
        ) from error
    return builder


def _is_classification(features, keys):
    import tensorflow_datasets as tfds

    return (
        keys is not None
        and len(keys) == 2
        and isinstance(features[keys[0]], tfds.features.Image)
        and isinstance(features[keys[1]], tfds.features.ClassLabel)
    )


def _in_memory(builder, split):
    import tensorflow_datasets as tfds

    dataset = builder.as_dataset(split=split, as_supervised=True)
    batches = list(tfds.as_numpy(dataset.batch(1000)))
    return (np.concatenate(part) for part in zip(*batches, strict=True))


def _indexed(builder, split, shape, image_size):
    import tensorflow_datasets as tfds

    info, source = builder.info, None
    if info.file_format.value != "tfrecord":
        encoded = {info.supervised_keys[0]: tfds.decode.SkipDecoding()}
        source = builder.as_data_source(split, decoders=encoded)
    paths = [os.fspath(path) for path in info.splits[split].filepaths]
    if any(map(urls.is_url, paths)):
        raise ValueError(
            f"The images of '{info.full_name}' are read one by one, from local paths "
            f"alone; mount the bucket, or copy it. Received: {paths[0]}"
        )
    paths = [pathlib.Path(path) for path in paths]
    resize = None in shape
    shape = (*image_size, 3) if resize else shape
    return tfds_records.load(paths, source, info.supervised_keys, shape, resize)
