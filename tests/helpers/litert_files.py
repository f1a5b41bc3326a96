"""LiteRT files in every format, for the tests of exports."""

import numpy as np
import pytest

from tests.helpers.exports import invoke
from training import export

FORMATS = {
    "float32": {},
    "float16": {"quantization": "float16"},
    "dynamic": {"quantization": "dynamic"},
    "int8": {"quantization": "int8", "input_dtype": "uint8"},
}
# Largest difference from Keras of a probability, and mean, over 300 images.
DIFFERENCES = {
    "float32": (1e-5, 1e-6),
    "float16": (0.01, 1e-4),
    "dynamic": (0.15, 1e-3),
    "int8": (0.5, 2e-3),
}
each_format = pytest.mark.parametrize("label", FORMATS)
NOISE = np.random.default_rng(1).integers(0, 256, (60, 16, 16, 1), "uint8")


def export_as(label, model, path, num_samples=1, images=NOISE):
    extra = {"calibration": images} if label == "int8" else {}
    options = FORMATS[label] | extra
    return export.export_tflite(model, path, num_samples, overwrite=True, **options)


def run(path, images, label, **inputs):
    return invoke(path, images=images.astype(pixels(label)), **inputs)


def pixels(label):
    return FORMATS[label].get("input_dtype", "float32")
