"""AugMix's consistency of three views, against NumPy and closed forms."""

import keras
import numpy as np
import tensorflow as tf

from tests.helpers.trainings import RECIPE
from training import objective, optimizer
from training.objectives import OBJECTIVES, augmix

RNG = np.random.default_rng(0)


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def published(logits):
    """The divergence as the published code computes it: clipped, view by view."""
    views = softmax(logits.astype("float64"))
    mixture = np.log(np.clip(views.mean(axis=1), 1e-7, 1))
    total = 0.0
    for view in np.moveaxis(views, 1, 0):
        logs = np.log(np.maximum(view, 1e-300))
        total += np.sum(view * (logs - mixture), axis=-1)
    return total / views.shape[1]


def test_the_divergence_is_that_of_the_published_code():
    for scale in (0.1, 1.0, 5.0, 30.0):
        logits = RNG.normal(size=(50, 3, 10)).astype("float32") * scale
        found = augmix.divergence(logits)
        assert found.shape == (50,)
        np.testing.assert_allclose(found, published(logits), 1e-4, 2e-6)


def test_the_divergence_lies_between_nothing_and_the_logarithm_of_the_views():
    same = np.repeat(RNG.normal(size=(5, 1, 10)), 3, axis=1).astype("float32")
    np.testing.assert_allclose(augmix.divergence(same), 0, atol=1e-6)
    disjoint = 200 * np.eye(3, 4, dtype="float32")[None]
    np.testing.assert_allclose(augmix.divergence(disjoint), np.log(3), rtol=1e-6)
    logits = RNG.normal(size=(50, 3, 10)).astype("float32") * 3
    turned = augmix.divergence(logits[:, [2, 0, 1]])
    np.testing.assert_allclose(turned, augmix.divergence(logits), rtol=1e-5)


def network():
    keras.utils.set_random_seed(0)
    images = keras.Input((4, 4, 1))
    x = keras.layers.Rescaling(1 / 128, -1)(images)
    x = keras.layers.Conv2D(4, 3)(x)
    x = keras.layers.BatchNormalization(momentum=0.0, name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.relu(x))
    penalty = keras.regularizers.L2(0.1)
    outputs = keras.layers.Dense(3, kernel_regularizer=penalty)(x)
    return keras.Model(images, outputs)


def test_a_step_minimizes_the_loss_of_the_first_view_and_the_consistency_of_all():
    model = network()
    recipe = RECIPE
    trained = objective.elbo(model, 100)
    trained.minimize(OBJECTIVES["augmix"](model, recipe))
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    trained.compile(
        optimizer.MomentumSGD(0.1),
        trained.objective.loss,
        weighted_metrics=[accuracy],
        run_eagerly=True,
    )
    images = RNG.integers(0, 256, (8, 3, 4, 4, 1)).astype("float32")
    labels = RNG.integers(0, 3, 8)
    rows = images.reshape(24, 4, 4, 1)
    with tf.GradientTape() as tape:
        logits = model(rows, training=True)
        (penalty,) = model.losses
        views = keras.ops.reshape(logits, (8, 3, 3))
        probs = keras.ops.softmax(views, -1)
        mixture = keras.ops.mean(probs, axis=1, keepdims=True)
        terms = probs * (keras.ops.log(probs) - keras.ops.log(mixture))
        consistency = keras.ops.mean(keras.ops.sum(terms, (1, 2)) / 3)
        chosen = keras.ops.one_hot(labels, 3) * keras.ops.log(probs[:, 0])
        nll = -keras.ops.mean(keras.ops.sum(chosen, -1))
        loss = nll + 12 * consistency + penalty
    gradients = tape.gradient(loss, model.trainable_variables)
    expected = [
        np.asarray(variable) - 0.1 * np.asarray(gradient)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
    ]
    mean = np.asarray(model.get_layer("norm").moving_mean)
    logs = trained.train_on_batch(images, labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], float(loss), rtol=1e-5)
    right = np.argmax(np.asarray(views)[:, 0], -1) == labels
    np.testing.assert_allclose(logs["accuracy"], right.mean(), rtol=1e-6)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, 1e-4, 1e-5, err_msg=variable.path)
    # Batch statistics are those of all views.
    np.testing.assert_allclose(model.get_layer("norm").moving_mean, mean, rtol=1e-5)
    # An evaluation shows the cross-entropy alone.
    shown = trained.evaluate(images[:, 0], labels, verbose=0, return_dict=True)
    logits = np.asarray(model(images[:, 0]), "float64")
    nll = -np.log(softmax(logits))[np.arange(8), labels].mean()
    penalty = 0.1 * np.sum(np.asarray(model.layers[-1].kernel, "float64") ** 2)
    np.testing.assert_allclose(shown["loss"], nll + penalty, rtol=1e-5)
