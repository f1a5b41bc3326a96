"""The architectures of the zoo with few filters, and weights for their names."""

import dataclasses
import functools
import pathlib
from unittest import mock

import keras

import zoo
from training.export import export_saved_model
from zoo import registry
from zoo.models import alexnet, blocks, lenet, vgg
from zoo.presets import index, training_images
from zoo.publishing import packaging, publish

FILTERS = 4
# Of networks with four stages, whose gradients crash TensorFlow 2.21 on some processors
# if they have as few as the others; those of the zoo have 64.
FILTERS_OF_FOUR = 16


def narrow() -> dict:
    """Returns all classifiers with one block a stage and few filters.

    Their names, parts and methods are those of the zoo. All stems subsample.
    """
    return {name: _narrowed(build) for name, build in registry.CLASSIFIERS.items()}


def _narrowed(build):
    stages = len(build.keywords["depths"])
    settings = {"depths": (1,) * stages}
    settings["filters"] = FILTERS if stages < 4 else FILTERS_OF_FOUR
    for key, value in {"widen": 1, "groups": 1, "cifar": False}.items():
        if key in build.keywords:
            settings[key] = value
    own_widths = vgg.vgg, alexnet.alexnet, lenet.lenet, lenet.perceptron
    if build.func in own_widths:
        del settings["filters"]
    return functools.partial(build, **settings)


@dataclasses.dataclass
class Narrow:
    """Puts narrow architectures in the place of the zoo's, and their weights too.

    Args:
        folder: In place of the folder `zoo`, with `presets.json` and `pretrained`.
    """

    folder: pathlib.Path

    def __enter__(self):
        patches = (
            mock.patch.dict(registry.ARCHITECTURES, narrow()),
            mock.patch.object(vgg, "FILTERS", (FILTERS,) * len(vgg.FILTERS)),
            mock.patch.object(
                alexnet,
                "SIZES",
                tuple(tuple((FILTERS, n) for _, n in s) for s in alexnet.SIZES),
            ),
            mock.patch.object(blocks, "SMALL_SIDE", 0),
            mock.patch.object(index, "FOLDER", self.folder),
        )
        for patch in patches:
            patch.start()
        return self

    def __exit__(self, *_):
        mock.patch.stopall()


def package(root: pathlib.Path):
    """Packages untrained weights under the names of the package's own.

    Args:
        root: Gets folders `zoo` and `published`, and `theirs.keras`.
    """
    known = index.read()
    assert known
    seen = {
        name: training_images.of_preset(preset, index.FOLDER)
        for name, preset in known.items()
    }
    (root / "zoo" / "pretrained").mkdir(parents=True)
    with Narrow(root / "zoo"):
        for preset in known.values():
            if not preset.source:
                _publish(preset, root, seen[preset.name])
        images = keras.Input((28, 28, 1))
        features = keras.layers.GlobalAveragePooling2D()(images)
        probs = keras.layers.Dense(10, activation="softmax")(features)
        keras.Model(images, probs).save(root / "theirs.keras")


def _publish(preset, root, images):
    keras.utils.set_random_seed(preset.seed)
    pixels = preset.mean, preset.variance
    model = zoo.build(preset.name, preset.input_shape, preset.num_classes, pixels)
    record = dataclasses.asdict(preset) | {
        "model": preset.stem,
        "dataset": preset.data,
        "num_classes": preset.num_classes,
        "data": None,  # A record says by it where the files were.
    }
    place = root / "published" / preset.name
    export = (
        export_saved_model if preset.name == "resnet20_smooth.fashion_mnist" else None
    )
    license = preset.data_license
    publish.publish(
        model, place, record, data_license=license, export=export, seen=images
    )
    packaged = packaging.package(place, root / "zoo")
    measured = dataclasses.replace(
        packaged, results=preset.results, others=preset.others
    )
    index.add(measured, folder=root / "zoo")
