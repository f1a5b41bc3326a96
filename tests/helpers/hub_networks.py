r"""What a classifier of keras_hub computes, for `test_keras_hub.py`.

    PYTHON tests/helpers/hub_networks.py resnet_50 FOLDER 224x224 160x96

PYTHON has keras_hub. Weights and statistics are random; FOLDER gets the classifier as
a preset in `preset`, its weights as `it.weights.h5`, and images, logits and the map of
each stage as `outputs.npz`.
"""

import pathlib
import sys

import keras
import keras_hub
import numpy as np

MEAN, STD = (0.48, 0.45, 0.41), (0.23, 0.22, 0.26)  # Not quite ImageNet's.
DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def make(name):
    """Returns a classifier with ten classes and its preprocessor."""
    deep = "_vd_" in name
    depths = DEPTHS[int(name.rpartition("_")[2])]
    kind = "basic_block" if name.endswith("_18") else "bottleneck_block"
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[32, 32, 64] if deep else [64],
        input_conv_kernel_sizes=[3, 3, 3] if deep else [7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=list(depths),
        stackwise_num_strides=[1, 2, 2, 2],
        block_type=f"{kind}_vd" if deep else kind,
    )
    converter = keras_hub.layers.ResNetImageConverter(
        image_size=(224, 224),
        scale=[1 / (255 * std) for std in STD],
        offset=[-mean / std for mean, std in zip(MEAN, STD, strict=True)],
    )
    preprocessor = keras_hub.models.ResNetImageClassifierPreprocessor(converter)
    return keras_hub.models.ResNetImageClassifier(backbone, 10, preprocessor)


def randomize(classifier, images):
    """Gives each normalization statistics that are near those of its inputs."""
    rng = np.random.default_rng(0)
    norms = [
        layer
        for layer in classifier.backbone.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in norms:
        layer.momentum = 0.0  # The statistics become those of the images.
        layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
    classifier(images, training=True)
    for layer in norms:
        spread = np.sqrt(layer.moving_variance)
        shape = spread.shape
        layer.moving_mean.assign_add(0.2 * spread * rng.normal(size=shape))
        layer.moving_variance.assign(spread**2 * rng.uniform(0.8, 1.6, shape))


def preprocess(classifier, images):
    """Returns what the classifier's own preprocessor makes of pixels."""
    converter = classifier.preprocessor.image_converter
    converter.image_size = None  # As they are.
    return converter(images)


def main(name, folder, *sizes):
    """Writes the weights and what the network gives at each size."""
    keras.utils.set_random_seed(0)
    folder, rng = pathlib.Path(folder), np.random.default_rng(0)
    classifier = make(name)
    images = rng.integers(0, 256, (2, 128, 128, 3)).astype("float32")
    randomize(classifier, (images / 255 - MEAN) / STD)
    classifier.save_to_preset(str(folder / "preset"))
    classifier.save_weights(folder / "it.weights.h5")
    outputs = {}
    double = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    exact = make(name)
    keras.config.set_dtype_policy(double)
    exact.set_weights(classifier.get_weights())
    backbone = exact.backbone
    maps = keras.Model(backbone.input, list(backbone.pyramid_outputs.values()))
    for size in sizes:
        shape = 2, *map(int, size.split("x")), 3
        images = rng.integers(0, 256, shape).astype("uint8")
        x = preprocess(exact, images.astype("float64"))
        outputs |= {f"{size}_images": images}
        outputs |= {f"{size}_logits": np.asarray(exact(x, training=False))}
        for i, features in enumerate(maps(x, training=False), 1):
            outputs[f"{size}_stage{i}"] = np.asarray(features)
    np.savez(folder / "outputs.npz", **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
