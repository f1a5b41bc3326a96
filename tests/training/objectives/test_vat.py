"""Virtual adversarial training against slow power iteration and closed forms."""

import dataclasses
import json
import re

import keras
import numpy as np
import pytest
import safetensors
from keras import ops

import layers
from layers import random
from tests.helpers import marks, processes
from tests.helpers.trainings import RECIPE, dense_model, stripes
from training import batches, objective, trainer
from training.data import ImageData
from training.objectives import vat

RNG = np.random.default_rng(0)
SHAPE, CLASSES = (3, 2, 2), 3
IMAGES = RNG.integers(0, 256, (6, *SHAPE)).astype("uint8")
LABELS = np.array([0, 1, 2, 0, 1, 2])
OTHERS = RNG.integers(0, 256, (8, *SHAPE)).astype("uint8")
OWN = dataclasses.replace(RECIPE, batch_size=6, unlabeled_batch_size=8)


def softmax_regression(objective, classes=CLASSES):
    keras.utils.set_random_seed(0)
    images = keras.Input(SHAPE)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64, -2)(images))
    model = keras.Model(images, keras.layers.Dense(classes, name="head")(x))
    recipe = dataclasses.replace(OWN, objective=objective)
    return model, trainer.compile_model(model, recipe, len(IMAGES))


def log_probs(logits):
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


class Slow:
    """The method by loops over pixels and central differences, in float64."""

    def __init__(self, model):
        weights = model.get_layer("head").weights
        self.kernel, self.bias = (
            ops.convert_to_numpy(w).astype("float64") for w in weights
        )

    def logs(self, pixels):
        x = pixels.reshape(-1, self.kernel.shape[0]) / 64 - 2
        return log_probs(x @ self.kernel + self.bias)

    def divergence(self, image, moved):
        one, other = self.logs(image), self.logs(moved)
        return float(np.sum(np.exp(one) * (one - other)))

    def sharpest(self, image, direction, step, iterations, width=1e-2):
        for _ in range(iterations):
            slopes = np.zeros(image.shape)
            for place in np.ndindex(image.shape):
                shift = np.zeros(image.shape)
                shift[place] = width
                middle = image + step * direction
                up, down = (self.divergence(image, middle + s) for s in (shift, -shift))
                slopes[place] = (up - down) / (2 * width)
            direction = slopes / np.linalg.norm(slopes)
        return direction

    def moved(self, images, start, epsilon, xi, iterations=1):
        return np.stack(
            [
                x + 255 * epsilon * self.sharpest(x, d, 255 * xi, iterations)
                for x, d in zip(images.astype("float64"), start, strict=True)
            ]
        )


def first_directions(images):
    """Those of the first step of a training with the seed 0."""
    key = random.fold(random.fold(0, vat._DIRECTIONS), 0)
    return ops.convert_to_numpy(vat.directions(key, images)).astype("float64")


SETTINGS = {"epsilon": 0.1, "xi": 0.02, "iterations": 2}
OBJECTIVE = "vat:epsilon=0.1:xi=0.02:iterations=2:weight=0.7:entropy=0.3"


@pytest.mark.parametrize("kind", marks.few(["labeled", "few labels"], ["labeled"]))
def test_a_step_minimizes_what_slow_power_iteration_finds(kind):
    model, trained = softmax_regression(OBJECTIVE)
    slow = Slow(model)
    pixels = IMAGES if kind == "labeled" else OTHERS
    moved = slow.moved(pixels, first_directions(pixels), **SETTINGS)
    logs, clean = slow.logs(pixels), slow.logs(IMAGES)
    divergences = np.sum(np.exp(logs) * (logs - slow.logs(moved)), axis=1)
    entropies = -np.sum(np.exp(logs) * logs, axis=1)
    assert np.min(divergences) > 0.01
    expected = -clean[np.arange(6), LABELS].mean()
    expected += np.mean(0.7 * divergences + 0.3 * entropies)
    x = IMAGES if kind == "labeled" else (IMAGES, OTHERS)
    logs_of_step = trained.train_on_batch(x, LABELS, return_dict=True)
    np.testing.assert_allclose(logs_of_step["loss"], expected, rtol=1e-4)
    # The gradient by the bias: neither the step nor the clean prediction has one.
    gradient = (np.exp(clean) - np.eye(CLASSES)[LABELS]).mean(axis=0)
    gradient += 0.7 * (np.exp(slow.logs(moved)) - np.exp(logs)).mean(axis=0)
    gradient -= 0.3 * (np.exp(logs) * (logs + entropies[:, None])).mean(axis=0)
    change = ops.convert_to_numpy(model.get_layer("head").bias)
    np.testing.assert_allclose(
        change / np.linalg.norm(change), -gradient / np.linalg.norm(gradient), atol=2e-3
    )


def test_the_direction_is_the_top_eigenvector_of_the_fisher_matrix():
    model, _ = softmax_regression("vat")
    slow, pixels = Slow(model), ops.convert_to_tensor(IMAGES.astype("float32"))
    logs = slow.logs(IMAGES)
    clean = ops.convert_to_tensor(logs.astype("float32"))

    def divergences(moved):
        return objective.divergence(clean, model(moved))

    start = ops.convert_to_tensor(first_directions(IMAGES).astype("float32"))
    found = vat.sharpest(divergences, pixels, start, step=2.0, iterations=60)
    small = ops.convert_to_numpy(divergences(pixels + 2 * found))
    found = ops.convert_to_numpy(found).astype("float64")
    for image, direction, value in zip(logs, found, small, strict=True):
        probs = np.exp(image)
        fisher = np.diag(probs) - np.outer(probs, probs)
        fisher = slow.kernel @ fisher @ slow.kernel.T / 64**2
        values, vectors = np.linalg.eigh(fisher)
        assert abs(direction.ravel() @ vectors[:, -1]) > 0.999
        np.testing.assert_allclose(value, 0.5 * 2**2 * values[-1], rtol=0.1)


def test_two_classes_move_along_the_difference_of_their_weights_at_once():
    model, _ = softmax_regression("vat", classes=2)
    kernel = Slow(model).kernel
    clean = ops.convert_to_tensor(Slow(model).logs(IMAGES).astype("float32"))

    def divergences(moved):
        return objective.divergence(clean, model(moved))

    start = first_directions(IMAGES).astype("float32")
    found = vat.sharpest(divergences, IMAGES.astype("float32"), start, step=5.0)
    expected = kernel[:, 0] - kernel[:, 1]
    expected /= np.linalg.norm(expected)
    cosines = ops.convert_to_numpy(found).reshape(6, -1) @ expected
    np.testing.assert_allclose(np.abs(cosines), 1, rtol=1e-5)


def test_directions_are_uniform_and_do_not_depend_on_the_batch():
    images = np.zeros((4000, 2, 2, 1), "float32")
    key = random.uint32(3)
    found = ops.convert_to_numpy(vat.directions(key, images)).reshape(4000, 4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    # Each of the moments is within six standard errors.
    assert np.abs(found.mean(axis=0)).max() < 6 * np.sqrt(1 / 4 / 4000)
    second = found.T @ found / 4000 - np.eye(4) / 4
    assert np.abs(second).max() < 6 * np.sqrt(1 / 8 / 4000)
    part = ops.convert_to_numpy(vat.directions(key, images[:7], first_row=5))
    np.testing.assert_allclose(part.reshape(7, 4), found[5:12], rtol=1e-6)


def test_norms_are_one_or_zero_at_any_size():
    rows = RNG.normal(size=(5, 3, 2, 1)).astype("float32")
    sizes = np.array([1.0, 1e-30, 1e30, 0.0, np.nan], "float32")
    found = ops.convert_to_numpy(vat.unit(rows * sizes[:, None, None, None]))
    norms = np.linalg.norm(found.reshape(5, -1), axis=1)
    np.testing.assert_allclose(norms, [1, 1, 1, 0, np.nan], rtol=1e-6)


def dropout_network():
    """One with batch statistics, a bound that passes change, and both dropouts."""
    keras.utils.set_random_seed(0)
    images = x = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="scale")(x)
    x = layers.SpectralConv2D(2, 5, strides=5, max_norm=0.5, name="conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = keras.layers.Flatten()(keras.ops.tanh(x))
    x = layers.MCDropout(0.5, seed=1, name="mcdo")(x)
    x = keras.layers.Dropout(0.5, seed=2, name="dropout")(x)
    return keras.Model(images, keras.layers.Dense(2, name="head")(x), name="dropped")


def after_a_step(objective, unlabeled=None):
    """Returns the loss beyond the cross-entropy, and what is not trained after it."""
    data, model = stripes(16), dropout_network()
    recipe = dataclasses.replace(RECIPE, objective=objective, unlabeled_batch_size=24)
    trained = trainer.compile_model(model, recipe, 16)
    trained.run_eagerly = True  # For one step of each.
    x = data.images if unlabeled is None else (data.images, unlabeled)
    logs = trained.train_on_batch(x, data.labels, return_dict=True)
    state = {
        re.sub(r"generator_\d+", "generator", weight.path): ops.convert_to_numpy(weight)
        for weight in model.non_trainable_variables
    }
    return logs["loss"] - logs["nll"], state


def test_masks_are_those_of_the_pass_and_statistics_those_of_labeled_images():
    _, plain = after_a_step("cross_entropy")
    unlabeled = 255 - stripes(24).images
    for others in (None, unlabeled):
        # A step of no size: other masks would make a difference of order one.
        added, state = after_a_step("vat:epsilon=0.00001", others)
        assert abs(added) < 1e-5
        added, state = after_a_step("vat:epsilon=0.5", others)
        assert added > 1e-3
        for path, value in state.items():
            if others is None or "moving" in path or "singular" in path:
                np.testing.assert_array_equal(value, plain[path], err_msg=path)
        counts = [v[1] for path, v in state.items() if path.endswith("random_state")]
        assert counts == [1 if others is None else 2]


@pytest.mark.parametrize(
    "policy", marks.few(["mixed_bfloat16", "mixed_float16"], ["mixed_float16"])
)
def test_half_precision_stays_finite_and_finds_the_direction(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = dense_model(rate=0.0)
    finally:
        keras.config.set_dtype_policy(before)
    data, full = stripes(16), dense_model(rate=0.0)
    found = []
    for network in (model, full):
        logs = ops.log_softmax(ops.cast(network(data.images), "float32"))

        def divergences(pixels, network=network, logs=logs):
            return objective.divergence(logs, network(pixels))

        pixels = data.images.astype("float32")
        start = ops.convert_to_numpy(vat.directions(random.uint32(0), pixels))
        step = 255 * vat.XI
        found.append(
            ops.convert_to_numpy(vat.sharpest(divergences, pixels, start, step))
        )
    cosines = np.sum(found[0] * found[1], axis=(1, 2, 3))
    assert np.median(np.abs(cosines)) > 0.9
    recipe = dataclasses.replace(RECIPE, objective="vat:entropy=1")
    trained = trainer.compile_model(model, recipe, 16)
    black = np.zeros_like(data.images)
    largest = 1.0 if policy == "mixed_float16" else 3e3
    for images in (data.images, black):
        for scale in (1.0, largest):
            head = model.get_layer("head")
            head.kernel.assign(scale * head.kernel)
            trained.train_on_batch(images, data.labels)
            for weight in model.get_weights():
                assert np.isfinite(weight).all()


def test_a_loss_that_is_not_finite_inside_of_the_step_keeps_the_checkpoint(tmp_path):
    images = keras.Input((12, 12, 1))
    x = keras.layers.Flatten()(ops.sqrt(images))  # Not a number below black.
    model = keras.Model(images, keras.layers.Dense(2)(x), name="root")
    data = stripes()
    recipe = dataclasses.replace(RECIPE, objective="vat:epsilon=0.1", augmentations=())
    pixels = np.maximum(data.images, 60)
    pixels[batches.order_of(data, 16, 0, 0)[3][0]] = 0
    data = dataclasses.replace(data, images=pixels)
    with pytest.raises(
        FloatingPointError,
        match=r"nan in epoch 1, and the cross-entropy of the images is finite: it is "
        r"what the objective 'vat:epsilon=0\.1' adds.*last good checkpoint",
    ):
        trainer.train(model, recipe, data, tmp_path, checkpoint_seconds=0)
    with safetensors.safe_open(tmp_path / "checkpoint.safetensors", "numpy") as file:
        place = json.loads(file.metadata()["position"])
    assert (place["epoch"], place["step"]) == (0, 3)


@pytest.mark.parametrize(
    "settings, message",
    [
        ("epsilon=8", r"`epsilon` is the Euclidean norm.*3\.464.*epsilon=8"),
        ("epsilon=0", "epsilon=0"),
        ("xi=0", "`xi` is the Euclidean norm.*xi=0"),
        ("xi=NaN", "xi=nan"),
        ("weight=-1", "`weight` weighs what.*weight=-1"),
        ("entropy=Infinity", "entropy=inf"),
        ("iterations=0", "`iterations` must be a positive integer"),
        ('epsilon="2"', "epsilon=2"),
    ],
)
def test_settings_out_of_their_ranges_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        softmax_regression(f"vat:{settings}")


def test_labels_of_each_pixel_have_a_divergence_each():
    images = keras.Input(SHAPE)
    x = keras.layers.Rescaling(1 / 64, -2)(images)
    model = keras.Model(images, keras.layers.Conv2D(CLASSES, 1)(x))
    recipe = dataclasses.replace(OWN, objective="vat:epsilon=0.5")
    masks = RNG.integers(0, CLASSES, (6, *SHAPE[:2]))
    data = ImageData("masks", IMAGES, masks, ("a", "b", "c"))
    trained = trainer.compile_model(model, recipe, 6)
    logs = trained.train_on_batch(data.images, data.labels, return_dict=True)
    assert logs["loss"] > logs["nll"] + 1e-3


@marks.on_others
def test_all_of_this_holds_on_other_backends(backend):
    pytest.importorskip(backend)
    processes.check_on(backend, __file__)
