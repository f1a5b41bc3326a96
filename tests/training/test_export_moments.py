import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tests.checks import assert_mean_close
from tests.training.exports import IMAGES, RATE, call, dropout_model, softmax
from training import export


def exact_moments(model, images):
    """Returns mean and variance of the probabilities, over all masks."""
    body = keras.Model(model.input, model.get_layer(index=-4).output)
    features = np.mean(body(images, training=False), axis=(1, 2))
    kernel, bias = model.get_layer("head").get_weights()
    masks = np.array(list(itertools.product([0, 1], repeat=8)))[:, None]
    kept = masks.sum(axis=-1, keepdims=True)
    weights = (1 - RATE) ** kept * RATE ** (8 - kept)
    probs = softmax(features * masks / (1 - RATE) @ kernel + bias)
    mean = np.sum(weights * probs, axis=0)
    return mean, np.sum(weights * (probs - mean) ** 2, axis=0)


@pytest.fixture(scope="module")
def single_passes(tmp_path_factory):
    """Samples of an export of one pass: served, by server seed, by device seed."""
    folder, model = tmp_path_factory.mktemp("single"), dropout_model()
    export.export_saved_model(model, folder / "saved", 1)
    export.export_tflite(model, folder / "lite", 1)
    loaded, images = tf.saved_model.load(folder / "saved"), IMAGES[:2]
    serve = loaded.signatures["serving_default"]
    constant = tf.constant(images)
    served = [serve(images=constant)["probabilities"].numpy() for _ in range(1500)]
    drawn = call(folder / "saved", "sample", images=images, num_samples=4000, seed=3)
    runner = Interpreter(str(folder / "lite")).get_signature_runner()
    device = [
        runner(images=images, seed=np.array(seed, "int32"))["probabilities"].copy()
        for seed in range(4000)
    ]
    samples = {"served": served, "drawn": drawn["samples"], "device": device}
    return exact_moments(model, images), samples


@pytest.mark.parametrize("source", ["served", "drawn", "device"])
def test_samples_have_the_exact_moments_over_all_masks(single_passes, source):
    (mean, variance), samples = single_passes
    assert_mean_close(samples[source], mean)
    assert_mean_close((np.array(samples[source]) - mean) ** 2, variance)


@pytest.mark.parametrize("source", ["served", "device"])
def test_successive_samples_and_images_are_independent(single_passes, source):
    (mean, _), samples = single_passes
    centered = np.array(samples[source]) - mean
    assert_mean_close(centered[:-1] * centered[1:], 0.0)
    assert_mean_close(centered[:, 0] * centered[:, 1], 0.0)
