"""The objective of DUQ: kernels, the penalty of gradients, and centroids."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import layers
from layers import gradients
from tests.helpers import marks, processes
from tests.helpers.trainings import RECIPE, dense_model, stripes
from training import trainer
from training.input_gradients import pixel_deviations
from training.objectives import OBJECTIVES, duq
from training.recipes.base import Recipe

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 3, 2)).astype("float32")
LABELS = np.array([0, 1, 2, 0, 1, 2])
MEAN, VARIANCE = np.array([100.0, 140.0]), np.array([50.0**2, 70.0**2])


@pytest.fixture
def precise():
    """Step and tolerance of numeric differences, in 64 bits where there are some."""
    if keras.backend.backend() != "tensorflow":
        yield 2e-2, 2e-3
        return
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield 1e-4, 1e-5
    keras.config.set_dtype_policy(policy)


def network(unit=1.0):
    """A network for pixels in [0, 255 / unit], with batch normalization."""
    keras.utils.set_random_seed(0)
    dtype = keras.config.dtype_policy().compute_dtype
    images = x = keras.Input((4, 3, 2), dtype=dtype)
    x = keras.layers.Normalization(mean=MEAN / unit, variance=VARIANCE / unit**2)(x)
    x = keras.layers.Conv2D(4, 2, name="conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = keras.layers.Flatten()(keras.ops.tanh(x))
    head = layers.ClassCentroids(3, 6, length_scale=1.0, momentum=0.5, name="head")
    return keras.Model(images, head(x), name="network")


def in_training(model, images):
    """Returns kernels in training mode; statistics stay."""
    before = model.get_weights()
    kernels = np.exp(np.asarray(model(images, training=True), "float64"))
    model.set_weights(before)
    return kernels


def test_the_loss_is_the_mean_binary_cross_entropy_of_the_kernels():
    kernels = RNG.uniform(1e-3, 0.999, (8, 3))
    kernels[0] = 0.4, 1 - 1e-5, 1e-30
    labels = RNG.integers(0, 3, 8)
    targets = np.eye(3)[labels]
    terms = targets * np.log(kernels) + (1 - targets) * np.log(1 - kernels)
    found = duq.KernelCrossEntropy().call(labels, np.log(kernels))
    np.testing.assert_allclose(found, -terms.mean(axis=1), rtol=1e-5)
    # One that is right and one that is as sure and wrong.
    logs = ops.convert_to_tensor([[0.0, -300.0], [-300.0, 0.0]])

    def both(logs):
        return ops.sum(duq.KernelCrossEntropy().call(np.array([0, 0]), logs))

    right, wrong = duq.KernelCrossEntropy().call(np.array([0, 0]), logs)
    assert abs(float(right)) < 1e-6
    assert float(wrong) > 100
    assert np.isfinite(gradients.by_input(both, logs)).all()


def test_gradients_are_those_of_numeric_differences_of_normalized_pixels(precise):
    step, tolerance = precise
    model, images = network(), IMAGES.astype(keras.config.dtype_policy().compute_dtype)
    pixels = ops.convert_to_tensor(images)
    found = np.asarray(duq.gradient_norms(model, pixels, pixel_deviations(model)))
    for i in (3,):
        slopes = np.zeros(images.shape[1:])
        for place in np.ndindex(slopes.shape):
            shift = np.zeros_like(images)
            shift[(i, *place)] = step * np.sqrt(VARIANCE[place[-1]])
            # Through the statistics of the batch, to which this image belongs.
            up, down = (in_training(model, images + s).sum() for s in (shift, -shift))
            slopes[place] = (up - down) / (2 * step)
        np.testing.assert_allclose(found[i], np.linalg.norm(slopes), rtol=tolerance)


def test_the_penalty_is_the_same_for_pixels_of_any_unit():
    norms = []
    for unit in (1, 255):
        model = network(unit)
        pixels = ops.convert_to_tensor(IMAGES / np.float32(unit))
        found = duq.gradient_norms(model, pixels, pixel_deviations(model))
        norms.append(ops.convert_to_numpy(found))
    np.testing.assert_allclose(*norms, rtol=1e-4)
    assert np.min(norms[0]) > 1e-3


def test_deviations_are_those_of_the_first_layer():
    images = keras.Input((4, 3, 2))
    rescaled = keras.Model(images, keras.layers.Rescaling(1 / 128, -1)(images))
    np.testing.assert_allclose(pixel_deviations(rescaled), 128)
    found = pixel_deviations(network()) * np.ones((3, 4, 3, 2))
    np.testing.assert_allclose(found[0, 0, 0], [50, 70])
    plain = keras.Model(images, keras.layers.Conv2D(2, 3)(images), name="plain")
    with pytest.raises(ValueError, match=r"scale of the pixels.*'plain'"):
        pixel_deviations(plain)


def test_weights_have_the_gradient_of_loss_and_penalty():
    """Which for the penalty is one of second order.

    In 32 bits, for the moments of `tf.nn.moments`, of which Keras composes what has no
    fused kernel, have wrong derivatives of second order.
    """
    model, images = network(), ops.convert_to_tensor(IMAGES)
    model.get_layer("head").momentum = 1.0
    found = duq.duq(model, RECIPE, penalty=0.7)

    def loss(weight, value):
        with keras.StatelessScope([(weight, value)]):
            logits = model(images, training=True)
            return ops.mean(found.training_loss(model, images, LABELS, logits))

    weights = model.trainable_variables
    value = loss(weights[0], weights[0].value)
    expected = in_training(model, IMAGES)
    targets = np.eye(3)[LABELS]
    terms = targets * np.log(expected) + (1 - targets) * np.log(1 - expected)
    norms = duq.gradient_norms(model, images, pixel_deviations(model))
    penalties = 0.7 * (np.asarray(norms) - 1) ** 2
    np.testing.assert_allclose(value, np.mean(penalties - terms.mean(axis=1)), 1e-5)
    for weight in weights:
        of_weight = functools.partial(loss, weight)
        gradient = np.asarray(gradients.by_input(of_weight, weight.value))
        before = np.array(weight)
        place = np.unravel_index(np.argmax(np.abs(gradient)), before.shape)
        slopes = []
        for step in (3e-3, -3e-3):
            shifted = before.copy()
            shifted[place] += step
            moved = of_weight(ops.convert_to_tensor(shifted))
            slopes.append(float(ops.convert_to_numpy(moved)) / step)
        np.testing.assert_allclose(
            gradient[place], sum(slopes) / 2, 0.01, 2e-4, weight.path
        )


def test_a_step_moves_statistics_once_and_centroids_by_its_images():
    assert OBJECTIVES["duq"] is duq.duq
    model = network()
    recipe = Recipe(**{**vars(RECIPE), "objective": "duq"})
    trained = trainer.compile_model(model, recipe, 6)
    head, norm = model.get_layer("head"), model.get_layer("norm")
    before = model.get_weights()
    model(IMAGES, training=True)  # In whose statistics the embeddings are.
    features = keras.Model(model.input, head.input)(IMAGES, training=False)
    model.set_weights(before)
    embeddings = np.asarray(head.embed(features))
    counts, sums = 0.5 * np.array(head.counts), 0.5 * np.array(head.sums)
    for embedding, label in zip(embeddings, LABELS, strict=True):
        counts[label] += 0.5
        sums[:, label] += 0.5 * embedding[:, label]
    x = keras.Model(model.input, model.get_layer("conv").output)(IMAGES)
    mean = 0.1 * np.mean(np.asarray(x), axis=(0, 1, 2))
    logs = trained.train_on_batch(IMAGES.astype("uint8"), LABELS, return_dict=True)
    assert np.isfinite(logs["loss"])
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(head.counts, counts, rtol=1e-6)
    np.testing.assert_allclose(head.sums, sums, rtol=1e-3, atol=1e-4)
    shown = trained.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    kernels = np.exp(np.asarray(model(IMAGES), "float64"))
    targets = np.eye(3)[LABELS]
    terms = targets * np.log(kernels) + (1 - targets) * np.log(1 - kernels)
    np.testing.assert_allclose(shown["loss"], -terms.mean(), rtol=1e-4)


def test_other_networks_and_label_smoothing_are_refused():
    data = stripes(4)
    with pytest.raises(ValueError, match=r"'dense' with 0 of them"):
        trainer.compile_model(dense_model(), Recipe("s", objective="duq"), len(data))
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1"):
        duq.duq(network(), Recipe("s", label_smoothing=0.1))
    with pytest.raises(ValueError, match=r"must not be negative.*penalty=-1"):
        trainer.compile_model(network(), Recipe("s", objective="duq:penalty=-1"), 4)


@marks.on_others
def test_all_of_this_holds_on_other_backends(backend):
    pytest.importorskip(backend)
    processes.check_on(backend, __file__)
