import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tests.helpers.checks import assert_mean_close
from tests.helpers.exports import IMAGES, call, dropout_model, exact_moments
from training import export


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Means of two served passes, and single passes by their number and by seed."""
    folder, model = tmp_path_factory.mktemp("single"), dropout_model()
    export.export_saved_model(model, folder / "saved", 2)
    export.export_tflite(model, folder / "lite", 1)
    serve = tf.saved_model.load(folder / "saved").signatures["serving_default"]
    runner = Interpreter(str(folder / "lite")).get_signature_runner()
    images = IMAGES[:2]
    batch = np.tile(images, (25, 1, 1, 1))  # Every row has noise of its own.
    served = [serve(images=tf.constant(batch))["probabilities"] for _ in range(60)]
    seeds = [np.array(seed, "int32") for seed in range(120)]
    device = [runner(images=batch, seed=seed)["probabilities"] for seed in seeds]
    numbered = call(folder / "saved", "sample", images=images, num_samples=2000, seed=3)
    samples = {"served": served, "numbered": numbered["samples"], "device": device}
    samples = {name: np.reshape(value, (-1, 2, 4)) for name, value in samples.items()}
    return exact_moments(model, images), samples


@pytest.mark.parametrize("source", ["served", "numbered", "device"])
def test_samples_have_the_exact_moments_over_all_masks(drawn, source):
    (mean, variance), samples = drawn
    assert_mean_close(samples[source], mean)
    squares = (samples[source] - mean) ** 2
    assert_mean_close(squares, variance / (2 if source == "served" else 1))


@pytest.mark.parametrize("source", ["served", "device"])
def test_successive_samples_and_images_are_independent(drawn, source):
    (mean, _), samples = drawn
    centered = samples[source] - mean
    assert_mean_close(centered[:-1] * centered[1:], 0.0)
    assert_mean_close(centered[:, 0] * centered[:, 1], 0.0)
