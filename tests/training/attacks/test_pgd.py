"""FGSM and PGD against loops in NumPy and closed forms."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import layers
from layers import random
from layers.gradients import by_input
from tests.helpers import marks, processes
from tests.helpers.checks import assert_mean_close
from tests.helpers.networks import as_numpy
from tests.helpers.trainings import dense_model
from training.attacks import balls, expectation, fgsm, pgd
from training.attacks.pgd import Program
from training.input_gradients import input_gradients
from zoo.posterior import DeepEnsemble, MonteCarlo, Temperature

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 4, 1)).astype("uint8")
LABELS = np.array([0, 1, 2, 0, 1, 2])
SCALE = 64.0


@functools.cache
def linear(num_classes=3, hidden=0, seed=0):
    """A softmax regression, or a network with a hidden layer."""
    images = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / SCALE, -2)(images))
    x = keras.layers.Dense(hidden, activation="relu")(x) if hidden else x
    model = keras.Model(images, keras.layers.Dense(num_classes)(x), name="linear")
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


def weights():
    return [np.asarray(weight, "float64") for weight in linear().weights]


def gradients(x, labels, kernel, bias):
    """Those of the cross-entropy of a softmax regression, image by image."""
    found = np.zeros_like(x)
    for i, image in enumerate(x):
        logits = (image.ravel() / SCALE - 2) @ kernel + bias
        probs = np.exp(logits - logits.max())
        probs /= probs.sum()
        probs[labels[i]] -= 1
        found[i] = (kernel @ probs / SCALE).reshape(image.shape)
    return found


def descend(x0, labels, epsilon, step_size, steps, norm):
    """PGD without a random start as loops over images."""
    kernel, bias = weights()
    x = x0.copy()
    for _ in range(steps):
        for i, g in enumerate(gradients(x, labels, kernel, bias)):
            if norm == "linf":
                delta = x[i] + step_size * np.sign(g) - x0[i]
                delta = np.minimum(np.maximum(delta, -epsilon), epsilon)
            else:
                delta = x[i] + step_size * g / np.sqrt((g**2).sum()) - x0[i]
                delta *= min(1, epsilon / np.sqrt((delta**2).sum()))
            x[i] = np.minimum(np.maximum(x0[i] + delta, 0), 255)
    return x


def test_steps_are_those_of_loops_and_keep_within_the_ball_and_the_pixels():
    x0 = IMAGES.astype("float64")
    for norm, epsilon in (("linf", 20.0), ("l2", 90.0)):
        for steps, size in ((1, epsilon), (7, epsilon / 3)):
            found = as_numpy(
                pgd(
                    linear(),
                    IMAGES,
                    LABELS,
                    epsilon,
                    size,
                    steps,
                    norm=norm,
                    random_start=False,
                )
            )
            expected = descend(x0, LABELS, epsilon, size, steps, norm)
            assert found.dtype == "float32"
            np.testing.assert_allclose(found, expected, atol=2e-3, err_msg=norm)
            assert found.min() == 0
            assert found.max() == 255
    single = as_numpy(fgsm(linear(), IMAGES, LABELS, 20.0))
    expected = descend(x0, LABELS, 20, 20, 1, "linf")
    np.testing.assert_allclose(single, expected, atol=1e-4)


def test_of_two_linear_classes_the_worst_point_has_a_closed_form():
    model = linear(num_classes=2)
    kernel = np.asarray(model.weights[0], "float64")
    labels = LABELS % 2
    away = np.stack([kernel[:, 1 - i] - kernel[:, i] for i in labels])
    away = away.reshape(IMAGES.shape)
    x0 = IMAGES.astype("float64")
    found = pgd(model, IMAGES, labels, 12.0, 5.0, 9, seed=3)  # From random points.
    expected = np.clip(x0 + 12 * np.sign(away), 0, 255)
    np.testing.assert_allclose(as_numpy(found), expected, atol=1e-3)
    middle = np.full(IMAGES.shape, 128.0)
    found = pgd(model, middle, labels, 60.0, 40.0, 30, norm="l2", seed=3)
    norms = np.sqrt((away**2).sum(axis=(1, 2, 3), keepdims=True))
    np.testing.assert_allclose(as_numpy(found), middle + 60 * away / norms, atol=0.05)


def test_a_ball_of_no_size_gives_the_images_to_the_bit():
    found = pgd(linear(), IMAGES, LABELS, 0.0, 1.0, 3, norm="l2")
    np.testing.assert_array_equal(as_numpy(found), IMAGES)


def judged(model, images, labels=LABELS):
    logits = np.asarray(model(images), "float64")
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(labels)), labels], logits.argmax(axis=1) != labels


def test_restarts_are_never_weaker_and_larger_balls_never_better():
    model, (clean, _) = linear(hidden=16), judged(linear(hidden=16), IMAGES)
    before, beaten = None, 0
    for restarts in (1, 4):
        found = pgd(model, IMAGES, LABELS, 25.0, 20.0, 2, restarts=restarts, seed=1)
        losses, wrong = judged(model, found)
        assert np.mean(losses) > np.mean(clean)
        if before is not None:
            alike = wrong == before[1]
            assert (wrong >= before[1]).all()
            assert (losses >= before[0] - 1e-4)[alike].all()
            beaten += (losses > before[0] + 1e-3).sum()
        before = losses, wrong
    assert beaten > 0
    program, errors = Program(linear(), 8), []
    for epsilon in (0.0, 2.0, 8.0, 32.0, 128.0, 255.0):
        found = program(IMAGES, LABELS, epsilon, epsilon / 3)
        assert epsilon or (as_numpy(found) == IMAGES).all()
        errors.append(judged(linear(), found)[1].mean())
    assert errors == sorted(errors)
    assert errors[0] < errors[-1] == 1


def test_an_image_does_not_depend_on_its_batch():
    model = dense_model()  # It draws.
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1))
    labels, settings = np.arange(5) % 2, {"draws": 2, "seed": 7}
    whole = as_numpy(pgd(model, images, labels, 8.0, 4.0, 2, **settings))
    part = pgd(model, images[3:], labels[3:], 8.0, 4.0, 2, offset=3, **settings)
    np.testing.assert_array_equal(as_numpy(part), whole[3:])
    other = pgd(model, images, labels, 8.0, 4.0, 2, **{**settings, "seed": 8})
    assert (as_numpy(other) != whole).mean() > 0.5


def test_random_starts_are_uniform_in_the_ball():
    keys = random.fold(np.uint32(3), ops.arange(4000, dtype="int32"))
    linf = as_numpy(balls.named("linf").start(keys, (4000, 2, 2, 1), 8.0))
    assert_mean_close(linf, 0.0)
    assert_mean_close(linf**2, 64 / 3)
    assert abs(linf).max() <= 8
    l2 = as_numpy(balls.named("l2").start(keys, (4000, 2, 2, 1), 8.0))
    norms = np.sqrt((l2**2).sum(axis=(1, 2, 3)))
    assert norms.max() <= 8 * (1 + 1e-5)
    assert_mean_close((norms / 8) ** 4, 0.5)
    assert_mean_close(l2, 0.0)
    assert_mean_close(l2[:, 0, 0, 0] ** 2 - l2[:, 1, 0, 0] ** 2, 0.0)


def mean_gradients(model, images, labels, key, count):
    """Means over passes, each of which is a stream of its own."""

    def losses(x, number):
        with layers.stream(random.fold(key, number), offset=5):
            logits = model(x, training=False)
        return keras.losses.sparse_categorical_crossentropy(labels, logits, True)

    found = [
        as_numpy(input_gradients(model, functools.partial(losses, number=n), images))
        for n in range(count)
    ]
    return np.mean(found, axis=0)


def test_gradients_are_means_over_the_draws(monkeypatch):
    model = dense_model()
    images = ops.convert_to_tensor(
        np.random.default_rng(0).uniform(0, 255, (4, 12, 12, 1)), "float32"
    )
    labels = ops.convert_to_tensor([0, 1, 1, 0])
    expected = mean_gradients(model, images, labels, 9, 4)
    found = []
    for rows in (64, 8, 1):  # Four passes in a batch, two, and one.
        monkeypatch.setattr(expectation, "_ROWS", rows)
        loss = expectation.expected_loss(model, 4)
        assert loss._chunk(4) == {64: 4, 8: 2, 1: 1}[rows]
        losses, gradient = loss.gradient(images, labels, 9, 5)
        np.testing.assert_allclose(as_numpy(gradient), expected, rtol=1e-3, atol=1e-7)
        found.append(as_numpy(losses))
        same, probs = loss.prediction(images, labels, 9, 5)
        np.testing.assert_allclose(as_numpy(same), found[0], rtol=1e-5)
        samples = [MonteCarlo(model, 4)(images, seed=9, offset=5)]
        mean = as_numpy(ops.softmax(samples[0])).mean(axis=0)
        np.testing.assert_allclose(as_numpy(probs), mean, atol=1e-5)
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-5)


def test_posteriors_are_attacked_by_all_of_their_samples():
    models = [linear(), linear(seed=1)]
    images = ops.convert_to_tensor(IMAGES, "float32")
    labels = ops.convert_to_tensor(LABELS)
    single = [
        as_numpy(expectation.expected_loss(m).gradient(images, labels, 0, 0)[1])
        for m in models
    ]
    ensemble = expectation.expected_loss(DeepEnsemble(models))
    assert ensemble.count == 2
    found = as_numpy(ensemble.gradient(images, labels, 0, 0)[1])
    np.testing.assert_allclose(found, np.mean(single, axis=0), rtol=1e-5, atol=1e-8)
    scaled = Temperature(models[0])
    scaled.assign({"temperature": np.array(1.0, "float32")})
    found = expectation.expected_loss(scaled).gradient(images, labels, 0, 0)[1]
    np.testing.assert_allclose(as_numpy(found), single[0], rtol=1e-4, atol=1e-8)
    random_model = dense_model()
    assert expectation.expected_loss(random_model).count == expectation.DRAWS
    assert expectation.expected_loss(MonteCarlo(random_model, 3)).count == 3
    assert expectation.expected_loss(linear(), 7).count == 1
    with pytest.raises(ValueError, match="training=True"):
        expectation.expected_loss(scaled, training=True)


def sparse():
    """A linear network that sees a tenth of the pixels in each draw."""
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 1))
    x = layers.MCDropout(0.9, name="pixels")(keras.layers.Flatten()(images / 255.0))
    return keras.Model(images, keras.layers.Dense(2, name="head")(x), name="sparse")


def test_one_draw_flatters_a_random_network():
    model = sparse()
    images = np.random.default_rng(0).integers(60, 200, (2, 12, 12, 1))
    labels = np.arange(2)
    judge = expectation.expected_loss(model, 128)
    clean, *attacked = (
        as_numpy(judge.prediction(ops.cast(x, "float32"), labels, 99, 0)[0]).mean()
        for x in (
            ops.convert_to_tensor(images),
            fgsm(model, images, labels, 30.0, draws=1),
            fgsm(model, images, labels, 30.0, draws=30),
        )
    )
    assert attacked[1] - clean > 3 * (attacked[0] - clean) > 0


def test_inside_of_a_compiled_function_it_is_the_same():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("of TensorFlow")
    model = dense_model()
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 1))
    labels, settings = np.array([0, 1, 1, 0]), {"draws": 2}
    counters = [np.asarray(w) for w in model.non_trainable_variables]

    @tf.function(autograph=False)
    def step(images, labels, epsilon, seed):
        return pgd(model, images, labels, epsilon, 4.0, 2, seed=seed, **settings)

    found = step(tf.constant(images), tf.constant(labels), tf.constant(8.0), 7)
    eager = pgd(model, images, labels, 8.0, 4.0, 2, seed=7, **settings)
    np.testing.assert_allclose(as_numpy(found), as_numpy(eager), atol=1e-3)
    for weight, before in zip(model.non_trainable_variables, counters, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), before)


def test_batch_statistics_of_training_lead_it_and_learn_nothing():
    model = dense_model(rate=0.0)
    images = np.random.default_rng(0).uniform(0, 255, (6, 12, 12, 1)).astype("float32")
    labels = np.arange(6) % 2
    before = [np.asarray(w) for w in model.non_trainable_variables]

    def losses(x, training):
        logits = model(x, training=training)
        return keras.losses.sparse_categorical_crossentropy(labels, logits, True)

    for training in (False, True):
        own = functools.partial(losses, training=training)
        signs = np.sign(as_numpy(input_gradients(model, own, images)))
        found = as_numpy(fgsm(model, images, labels, 4.0, training=training))
        expected = np.clip(images + 4 * signs, 0, 255)
        assert (abs(found - expected) < 1e-3).mean() > 0.999  # Of tiny gradients.
    for weight, value in zip(model.non_trainable_variables, before, strict=True):
        if "random_state" not in weight.path:
            np.testing.assert_array_equal(np.asarray(weight), value)


def test_the_loss_is_that_of_the_caller():
    def least_likely(labels, logits):
        return -keras.losses.sparse_categorical_crossentropy(2 - labels, logits, True)

    found = fgsm(linear(), IMAGES, LABELS, 9.0, loss=least_likely)
    kernel, bias = weights()
    x0 = IMAGES.astype("float64")
    expected = x0 - 9 * np.sign(gradients(x0, 2 - LABELS, kernel, bias))
    np.testing.assert_allclose(as_numpy(found), np.clip(expected, 0, 255), atol=1e-4)


def test_the_gradient_of_a_certain_network_does_not_round_to_zero():
    logits = ops.convert_to_tensor([[60.0, -10.0, -11.0]])
    labels = ops.convert_to_tensor([0])
    found = as_numpy(
        by_input(lambda z: ops.sum(expectation.cross_entropy(labels, z)), logits)
    )[0]
    rest = np.exp([-70.0, -71.0])
    np.testing.assert_allclose(found, [-rest.sum(), *rest], rtol=1e-4)
    many = np.random.default_rng(0).normal(size=(20, 5)) * 4
    own = np.arange(20) % 5
    reference = keras.losses.sparse_categorical_crossentropy(own, many, True)
    values = expectation.cross_entropy(
        ops.convert_to_tensor(own), ops.convert_to_tensor(many, "float32")
    )
    np.testing.assert_allclose(as_numpy(values), np.asarray(reference), rtol=1e-4)


WRONG = [
    ({"epsilon": 8 / 255}, "gray levels.*give 8 for 8/255.*epsilon=0.0313"),
    ({"epsilon": 0.5, "norm": "l2"}, "gray levels.*epsilon=0.5"),
    ({"epsilon": 8 * 255}, "no two images are so far.*epsilon=2040"),
    ({"epsilon": 2000, "norm": "l2"}, "no two images are so far.*epsilon=2000"),
    (
        {"epsilon": 600, "norm": "l2"},
        "norm of 16 values.*each by 150 .*2.353 in Python and 2.353/255.*epsilon=600",
    ),
    ({"epsilon": float("nan")}, "`epsilon` must be a finite number.*epsilon=nan"),
    ({"epsilon": -1.0}, "not negative. Received: epsilon=-1"),
    ({"step_size": 2 / 255}, "do not come near.*give 2 for 2/255.*step_size=0.007"),
    ({"steps": 0}, "`steps` must be a positive integer"),
    ({"restarts": 2, "random_start": False}, "would be the same.*restarts=2"),
    ({"draws": 0}, "`draws` must be a positive integer"),
    ({"norm": "l1"}, "`norm` must be one of linf, l2. Received: norm=l1"),
    ({"images": IMAGES / 255.0}, "seem to be in .0, 1."),
    ({"images": IMAGES[:, :3]}, "must have the shape"),
    ({"labels": LABELS + 1}, "must be in .0, 3.*labels from 1 to 3"),
]


@pytest.mark.parametrize("changes, message", WRONG)
def test_wrong_arguments_are_told(changes, message):
    given = {"images": IMAGES, "labels": LABELS, "epsilon": 8.0, "step_size": 2.0}
    with pytest.raises(ValueError, match=message):
        pgd(linear(), **{**given, "steps": 10, **changes})


def test_a_loss_that_is_not_finite_ends_it():
    images = keras.Input((4, 4, 1))
    x = ops.log(keras.layers.Flatten()(images) - 3)  # NaN of darker pixels.
    model = keras.Model(images, keras.layers.Dense(3)(x), name="logs")
    bright = np.full(IMAGES.shape, 200, "uint8")
    found = fgsm(model, bright, LABELS, 8.0)
    assert np.isfinite(as_numpy(found)).all()
    bright[4, 0, 0] = 1
    message = "'logs'.*NaN or infinity in 1 of 6 images, the first of them number 4"
    with pytest.raises(ValueError, match=message):
        fgsm(model, bright, LABELS, 8.0)


def test_models_without_gradients_are_told():
    class Outside(keras.layers.Layer):
        """What another runtime computes."""

        def call(self, x):
            return ops.cast(ops.cast(x, "int32"), "float32")

    expectation.check_differentiable(linear())
    images = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(Outside()(images))
    model = keras.Model(images, keras.layers.Dense(3)(x), name="outside")
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(ValueError, match="'outside' has no gradients"):
            expectation.check_differentiable(model)


@marks.on_others
def test_attacks_are_the_same_on_others(backend):
    processes.check_on(backend, "tests/training/attacks/test_pgd.py")
