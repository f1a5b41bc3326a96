"""Adversarial training against the closed forms of a linear network."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers.trainings import RECIPE, dense_model, stripes
from training import objectives, trainer
from training.objectives import attacked

EPSILON = 8.0


def recipe(text):
    return dataclasses.replace(RECIPE, objective=text, augmentations=(), snapshots=0)


def linear():
    """A softmax regression of two classes, and its weights."""
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64)(images))
    model = keras.Model(images, keras.layers.Dense(2, name="head")(x))
    weights = model.get_layer("head").weights
    return model, *(np.asarray(w, "float64") for w in weights)


def ascent(kernel, labels):
    """The signs of the gradient of the loss, which are the same everywhere."""
    rise = (kernel[:, 0] - kernel[:, 1]) * np.where(labels, 1, -1)[:, None]
    return np.sign(rise).reshape(-1, 12, 12, 1)


def cross_entropies(x, labels, kernel, bias):
    logits = x.reshape(len(x), -1) / 64 @ kernel + bias
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(x)), labels], logits.argmax(axis=1)


def moved(text, model, data, key=1):
    found = objectives.read(text)(model, recipe(text))
    return ops.convert_to_numpy(found.moved(model, data.images, data.labels, key))


@pytest.mark.parametrize(
    "text",
    [
        "fgsm:epsilon=8/255:random_start=false",
        # Of steps of two gray levels, eight reach the border from any start.
        "pgd:epsilon=8:steps=8",
    ],
)
def test_a_step_minimizes_the_largest_loss_in_the_box(text):
    (model, kernel, bias), data = linear(), stripes(16)
    data.images[:8] = data.images[:8] // 2 + 64
    x, signs = data.images.astype("float64"), ascent(kernel, data.labels)
    worst = np.clip(x + EPSILON * signs, 0, 255)
    np.testing.assert_allclose(moved(text, model, data), worst, atol=1e-4)
    losses, predicted = cross_entropies(worst, data.labels, kernel, bias)
    # Where no pixel is at an end of its range, by the sum of the absolute weights.
    inside = (np.abs(x - 127.5) < 127.5 - EPSILON).all(axis=(1, 2, 3))
    assert inside.any()
    assert not inside.all()
    clean, _ = cross_entropies(x, data.labels, kernel, bias)
    lead, worse = (-np.log(np.expm1(nll)) for nll in (clean, losses))
    rise = EPSILON / 64 * np.abs(kernel[:, 0] - kernel[:, 1]).sum()
    np.testing.assert_allclose(lead[inside] - worse[inside], rise, rtol=1e-9)
    trained = trainer.compile_model(model, recipe(text), 16)
    logs = trained.train_on_batch(data.images, data.labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], losses.mean(), rtol=1e-4)
    # Of the images that it trains with; validation is of images as they are.
    assert logs["accuracy"] == pytest.approx(np.mean(predicted == data.labels))


def test_a_random_start_is_another_one_in_each_step_and_the_step_ends_in_the_box():
    (model, kernel, _), data = linear(), stripes(16)
    images = data.images // 2 + 64  # No pixel at an end of its range.
    data = dataclasses.replace(data, images=images)
    signs = ascent(kernel, data.labels)
    one, same, other = (moved("fgsm:epsilon=8", model, data, key) for key in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    change = (one - images) * signs
    assert change.max() <= EPSILON + 1e-4
    # A uniform start and a step of 1.25 epsilon: from there, or on the border.
    assert change.min() >= EPSILON / 4 - 1e-4
    share = np.mean(change > EPSILON - 1e-3)
    assert abs(share - 0.625) < 6 * np.sqrt(0.625 * 0.375 / change.size)
    short = (moved("fgsm:epsilon=8:step_size=3/255", model, data) - images) * signs
    # From a start above 5 it ends at 8: 3 less the mean of what is cut off.
    expected = 3 - 3**2 / 2 / 16
    assert abs(np.mean(short) - expected) < 6 * EPSILON / np.sqrt(3 * short.size)


def test_keys_are_those_of_the_step_and_of_the_seed():
    model, data = dense_model(rate=0.0), stripes(16)
    trained = trainer.compile_model(model, recipe("fgsm"), 16)
    keys = []

    def record(model, images, labels, key):
        keys.append(int(key))
        return images

    own = dataclasses.replace(trained.objective, moved=record)
    trained.minimize(own, trained.kl_weight)
    trained.run_eagerly = True
    for trained.seed in (0, 0, 7):
        trained.train_on_batch(data.images, data.labels)
    trained.optimizer.iterations.assign(1)
    trained.seed = 0
    trained.train_on_batch(data.images, data.labels)
    assert len({*keys}) == 3
    assert keys[3] == keys[1]


def test_batch_statistics_are_those_of_the_images_that_it_trains_with():
    model, data = dense_model(rate=0.0), stripes(16)
    text = "fgsm:epsilon=32:random_start=false"
    images = moved(text, model, data).reshape(16, -1) / 64 - 2
    trained = trainer.compile_model(model, recipe(text), 16)
    trained.train_on_batch(data.images, data.labels)
    norm = model.get_layer("norm")
    np.testing.assert_allclose(norm.moving_mean, images.mean(axis=0) / 10, 1e-4, 1e-6)


def test_sizes_are_parts_of_the_range_or_gray_levels():
    model = dense_model(rate=0.0)
    for text in ("-1", "255", "65", "0.5", "NaN", '"8"'):
        for name in ("epsilon", "step_size"):
            with pytest.raises(ValueError, match=f"`{name}` is a part of the range"):
                objectives.read(f"fgsm:{name}={text}")(model, RECIPE)
    for text in ("0.2/255", "8:step_size=1"):  # No pixel changes, or too few.
        with pytest.raises(ValueError, match="gray levels"):
            objectives.read(f"fgsm:epsilon={text}")(model, RECIPE)
    with pytest.raises(ValueError, match="steps"):
        objectives.read("pgd:steps=0")(model, RECIPE)
    with pytest.raises(ValueError, match="no number.*fgsm:epsilon=8/0"):
        recipe("fgsm:epsilon=8/0")
    assert attacked.gray_levels(0.999 / 255, "epsilon") == pytest.approx(0.999)


def test_an_attack_that_is_not_finite_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    """The gradient of a root at zero, of a pixel that the loss does not depend on."""
    images = x = keras.Input((12, 12, 1), name="images")
    x = ops.sqrt(ops.relu(keras.layers.Rescaling(1 / 255, -0.2)(x)))
    x = keras.layers.Flatten()(x)
    model = keras.Model(images, keras.layers.Dense(2, name="head")(x), name="root")
    data = stripes()
    with pytest.raises(FloatingPointError, match="moved, is nan in epoch 1"):
        trainer.train(model, recipe("fgsm"), data, tmp_path / "first")
    assert not (tmp_path / "first" / "checkpoint.safetensors").exists()
    pgd = attacked.attacks.pgd

    def breaks(model, *args, **kwargs):
        own = trained_by[0].optimizer.iterations.value
        factor = ops.where(ops.convert_to_tensor(own) > 6, np.nan, 1.0)
        return pgd(model, *args, **kwargs) * ops.cast(factor, "float32")

    trained_by, compile_model = [], trainer.compile_model

    def compiled(*args):
        trained_by.append(compile_model(*args))
        return trained_by[0]

    monkeypatch.setattr(attacked.attacks, "pgd", breaks)
    monkeypatch.setattr(trainer, "compile_model", compiled)
    good = tmp_path / "second" / "checkpoint.safetensors"
    with pytest.raises(FloatingPointError, match=f"in epoch 2.*'{good}'"):
        trainer.train(dense_model(), recipe("fgsm"), data, good.parent)
    assert good.exists()
