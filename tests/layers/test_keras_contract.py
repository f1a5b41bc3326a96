"""The checks that Keras has for its own layers."""

import pytest
from keras.src import testing

import layers

IMAGES = (2, 7, 8, 4)
CASES = {
    "blur_pool": (layers.BlurPool2D, {}, IMAGES, (2, 4, 4, 4), {}),
    "blur_pool_any": (
        layers.BlurPool2D,
        {"taps": (1, 5, 2), "strides": 3, "padding": "same"},
        IMAGES,
        (2, 3, 3, 4),
        {},
    ),
    "low_cut": (layers.FLCPooling2D, {}, IMAGES, (2, 4, 4, 4), {}),
    "frequency": (
        layers.FrequencyDropout,
        {"filters": {"log": (0.5, 0.2, 3.0)}, "seed": 1},
        IMAGES,
        IMAGES,
        {"non_trainable": 1},
    ),
    "filtered": (layers.FilteredReLU, {"quantile": None}, IMAGES, IMAGES, {}),
    "smoothing": (layers.SpatialSmoothing, {}, IMAGES, IMAGES, {}),
    "smoothing_norm": (
        layers.SpatialSmoothing,
        {"padding": "full", "probs": "softmax", "batch_norm": True},
        IMAGES,
        (2, 8, 9, 4),
        {"trainable": 2, "non_trainable": 2},
    ),
    "norm": (
        layers.BatchNormalization,
        {"momentum": 0.9},
        IMAGES,
        IMAGES,
        {"trainable": 2, "non_trainable": 2},
    ),
    "dropout": (layers.MCDropout, {}, IMAGES, IMAGES, {"non_trainable": 1}),
    "dropout_channels": (
        layers.MCDropout,
        {"rate": 0.5, "channelwise": True, "seed": 1},
        IMAGES,
        IMAGES,
        {"non_trainable": 1},
    ),
    "dropout_training": (
        layers.Dropout,
        {"rate": 0.5},
        IMAGES,
        IMAGES,
        {"non_trainable": 1},
    ),
    "attention": (
        layers.LocalAttention,
        {"filters": 6, "num_heads": 2, "key_dim": 3, "window_size": 3},
        IMAGES,
        (2, 7, 8, 6),
        {"trainable": 4},
    ),
    "dense": (
        layers.DenseFlipout,
        {"units": 3},
        (2, 4),
        (2, 3),
        {"trainable": 3, "non_trainable": 1, "losses": 1},
    ),
    "conv": (
        layers.Conv2DFlipout,
        {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"},
        IMAGES,
        (2, 4, 4, 3),
        {"trainable": 3, "non_trainable": 1, "losses": 1},
    ),
    "conv_bounded": (
        layers.SpectralConv2D,
        {"filters": 3, "kernel_size": 3, "strides": 2, "max_norm": 0.5},
        IMAGES,
        (2, 3, 3, 3),
        {"trainable": 2, "non_trainable": 2},
    ),
    "process": (
        layers.GaussianProcess,
        {"units": 3, "num_features": 6},
        (2, 4),
        (2, 3),
        {"trainable": 1, "non_trainable": 4},
    ),
    "centroids": (
        layers.ClassCentroids,
        {"units": 3},
        (2, 4),
        (2, 3),
        {"trainable": 1, "non_trainable": 2},
    ),
    "conv_without_bias": (
        layers.Conv2DFlipout,
        {"filters": 3, "kernel_size": (2, 3), "use_bias": False, "seed": 1},
        IMAGES,
        (2, 6, 6, 3),
        {"trainable": 2, "non_trainable": 1, "losses": 1},
    ),
}


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
@pytest.mark.filterwarnings("ignore:The model does not have any trainable:UserWarning")
@pytest.mark.parametrize(
    "kind, arguments, shape, output_shape, count", CASES.values(), ids=CASES
)
def test_passes_the_checks_of_keras(kind, arguments, shape, output_shape, count):
    testing.TestCase().run_layer_test(
        kind,
        init_kwargs=arguments,
        input_shape=shape,
        expected_output_shape=output_shape,
        expected_output_dtype="float32",
        expected_num_trainable_weights=count.get("trainable", 0),
        expected_num_non_trainable_weights=count.get("non_trainable", 0),
        expected_num_seed_generators=0,
        expected_num_losses=count.get("losses", 0),
    )
