"""Images of zeros and noise in the layouts in which the data sets are published."""

import gzip
import io
import pathlib
import shutil
import struct
import sys
from collections.abc import Sequence

import numpy as np

from training.data import corrupted

# Every eighth image is zeros.
_ZEROS = 8
# Images of one class are alike, so that a network has something to learn.
_DISTINCT = 512
# 523 and 57 images in classes of odd sizes, the last with one image each.
PHOTOS = {"train": (211, 131, 89, 53, 27, 11, 1), "test": (23, 14, 10, 6, 2, 1, 1)}
IMAGENET = {"train": (1_281_167, 1024), "validation": (50_000, 64)}
CAMVID = {"train": 367, "val": 101, "test": 233}
# Class names beside the binary files of CIFAR.
NAMES = {
    "cifar10": {"batches.meta.txt": 10},
    "cifar100": {"fine_label_names.txt": 100, "coarse_label_names.txt": 20},
}


def noise(count: int, shape: tuple[int, ...], num_classes: int, seed: int = 0):
    """Returns noise that is brighter in some classes than in others, and its labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=count, dtype=np.uint8)
    pixels = rng.integers(0, 128, (count, *shape), np.uint8)
    pixels += (labels * (127 / num_classes)).astype("uint8")[:, None, None, None]
    pixels[::_ZEROS] = 0
    return pixels, labels


def idx(folder: pathlib.Path, count: int = 60_000, tests: int = 10_000):
    """Writes the four files of Fashion-MNIST."""
    for seed, (stem, number) in enumerate([("train", count), ("t10k", tests)]):
        images, labels = noise(number, (28, 28, 1), 10, seed)
        for kind, array in (("images-idx3", images[..., 0]), ("labels-idx1", labels)):
            head = struct.pack(">HBB", 0, 8, array.ndim)
            head += struct.pack(f">{array.ndim}I", *array.shape)
            path = folder / f"{stem}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(head + array.tobytes(), 0))


def cifar(folder: pathlib.Path, name: str, counts=(50_000, 10_000)):
    """Writes the binary files of CIFAR-10 or CIFAR-100."""
    number = int(name.removeprefix("cifar"))
    for stem, count in NAMES[name].items():
        names = "".join(f"class_{i}\n" for i in range(count))
        (folder / stem).write_text(names)
    splits = zip(("train", "test"), counts, strict=True)
    for seed, (split, count) in enumerate(splits):
        images, labels = noise(count, (3, 32, 32), number, seed)
        columns = [labels[:, None], images.reshape(count, -1)]
        if name == "cifar100":
            columns.insert(0, labels[:, None] // 5)
        rows = np.concatenate(columns, axis=1)
        parts = {f"{split}.bin": rows}
        if name == "cifar10":
            parts = {"test_batch.bin": rows}
            if split == "train":
                pieces = enumerate(np.split(rows, 5), 1)
                parts = {f"data_batch_{i}.bin": piece for i, piece in pieces}
        for file, part in parts.items():
            (folder / file).write_bytes(part.tobytes())


def tfds(
    folder: pathlib.Path,
    name: str,
    splits: dict[str, tuple[int, int]],
    classes: Sequence[str] = (),
):
    """Writes the record files of a data set as TensorFlow Datasets prepares them.

    Args:
        folder: The `data_dir`.
        name: Name of the set.
        splits: The numbers of images and of files, by split.
        classes: Their names, where the set has them only once it is prepared.
    """
    import tensorflow as tf
    import tensorflow_datasets as tensorflow_sets

    builder = tensorflow_sets.builder(name, data_dir=folder)
    if classes:
        builder.info.features["label"].names = classes
    place = pathlib.Path(builder.data_path)
    place.mkdir(parents=True)
    found = []
    for seed, (split, (count, shards)) in enumerate(splits.items()):
        template = tensorflow_sets.core.naming.ShardedFileTemplate(
            data_dir=place,
            dataset_name=builder.name,
            split=split,
            filetype_suffix="tfrecord",
        )
        records = _records(builder.info.features, seed)
        order = np.random.default_rng(seed).integers(len(records), size=count)
        sizes = [len(part) for part in np.array_split(order, shards)]
        paths = template.sharded_filepaths(shards)
        for path, part in zip(paths, np.array_split(order, shards), strict=True):
            with tf.io.TFRecordWriter(str(path)) as writer:
                for number in part:
                    writer.write(records[number])
        found.append(
            tensorflow_sets.core.SplitInfo(
                name=split, shard_lengths=sizes, num_bytes=0, filename_template=template
            )
        )
    builder.info.set_splits(tensorflow_sets.core.SplitDict(found))
    builder.info.write_to_directory(place)


def _records(features, seed):
    """Returns different records of a data set, of which its files are made."""
    import tensorflow as tf

    num_classes, shape = features["label"].num_classes, features["image"].shape
    count = max(_DISTINCT, num_classes)
    any_size = None in shape
    images, _ = noise(count, (21, 17, 3) if any_size else shape, 10, seed)
    found = []
    for number, pixels in enumerate(images):
        values = {"image": _encoded(pixels, "JPEG" if any_size else "PNG")}
        values |= {"label": number % num_classes, "coarse_label": 0}
        values |= {"id": str(number).encode(), "file_name": b"n.JPEG"}
        lists = {
            key: tf.train.Feature(int64_list=tf.train.Int64List(value=[values[key]]))
            if isinstance(values[key], int)
            else tf.train.Feature(bytes_list=tf.train.BytesList(value=[values[key]]))
            for key in features
        }
        example = tf.train.Example(features=tf.train.Features(feature=lists))
        found.append(example.SerializeToString())
    return found


def _encoded(pixels, kind):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.squeeze(pixels)).save(file, kind)
    return file.getvalue()


def photos(folder: pathlib.Path):
    """Writes a folder of 523 + 57 image files of different sizes, in seven classes."""
    rng = np.random.default_rng(0)
    for split, counts in PHOTOS.items():
        for label, count in enumerate(counts):
            place = folder / split / f"class {label}"
            place.mkdir(parents=True)
            for number in range(count):
                shape = *rng.integers(30, 60, 2), 3
                pixels = rng.integers(20 * label, 20 * label + 100, shape, np.uint8)
                kind = ("png", "jpeg", "jpg")[number % 3]
                content = _encoded(pixels, kind.replace("jpg", "jpeg").upper())
                (place / f"{number} of {count}.{kind}").write_bytes(content)


def camvid(folder: pathlib.Path):
    """Writes frames and masks in the layout of the SegNet tutorial."""
    for seed, (split, count) in enumerate(CAMVID.items()):
        pixels, labels = noise(count, (180, 240, 3), 12, seed)
        for place, arrays in ((split, pixels), (f"{split}annot", None)):
            (folder / place).mkdir()
            for number, label in enumerate(labels):
                blank = np.full((180, 240), label)
                picture = blank if arrays is None else arrays[number]
                path = folder / place / f"0001TP_{number:06}.png"
                path.write_bytes(_encoded(picture, "PNG"))


def cifar10_c(folder: pathlib.Path, names=("fog", "jpeg_compression")):
    """Writes published files of CIFAR-10-C: five severities of 10,000 images each."""
    images, labels = noise(10_000, (32, 32, 3), 10, 1)
    np.save(folder / "labels.npy", np.tile(labels, 5))
    for name in names:
        np.save(folder / f"{name}.npy", np.tile(images, (5, 1, 1, 1)))


def imagenet_c(folder: pathlib.Path, name: str = "fog"):
    """Writes a published folder of ImageNet-C with one image a class."""
    import tensorflow_datasets as tensorflow_sets

    info = tensorflow_sets.builder("imagenet2012", data_dir=folder).info
    content = _encoded(noise(2, (224, 224, 3), 10)[0][1], "JPEG")
    for wnid in info.features["label"].names:
        place = folder / name / "3" / wnid
        place.mkdir(parents=True)
        (place / "ILSVRC2012_val_00000001.JPEG").write_bytes(content)


def weights(folder: pathlib.Path):
    """Writes weights of narrow networks under the names of the packaged ones."""
    from tests.full_size import networks

    for name in ("zoo", "published"):
        shutil.rmtree(folder / name, ignore_errors=True)
    networks.package(folder)


_CIFAR = {"train": (50_000, 1), "test": (10_000, 1)}
# What is made, by the folder that it fills.
MAKERS = {
    "fashion_mnist": idx,
    "cifar-10-batches-bin": lambda folder: cifar(folder, "cifar10"),
    "cifar-100-binary": lambda folder: cifar(folder, "cifar100"),
    "tfds/cifar10": lambda folder: tfds(
        folder.parent, "cifar10", _CIFAR, corrupted.class_names("cifar10", None)
    ),
    "tfds/imagenet2012": lambda folder: tfds(folder.parent, "imagenet2012", IMAGENET),
    "photos": photos,
    "CamVid": camvid,
    "cifar10_c": cifar10_c,
    "imagenet_c": imagenet_c,
    "weights": lambda folder: weights(folder.parent),
}


def make(root: pathlib.Path):
    """Makes the inputs that are not there; each is whole once its mark is there.

    Args:
        root: The folder of all.
    """
    for name, write in MAKERS.items():
        mark, folder = root / f".{name.replace('/', '-')}.complete", root / name
        if not mark.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write(folder)
            mark.touch()


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[1]).resolve())
