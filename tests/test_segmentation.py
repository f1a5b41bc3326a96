"""A label for each pixel: from folders of masks to a report, and what has no label."""

import dataclasses
import math

import keras
import numpy as np
import pytest

import layers
from layers import random
from tests.helpers import scenes
from tests.helpers.trainings import RECIPE, without_time
from training import augment, batches, metrics, objective, task, trainer
from training.attacks import expectation
from training.data import fingerprint, loading, validation
from training.evaluation import class_names, evaluate, predictions, sampling
from training.metrics.keras_metrics import Classification
from zoo import outputs, posterior
from zoo.arrays import UNLABELED

RECIPE = dataclasses.replace(
    RECIPE,
    batch_size=8,
    epochs=2,
    augmentations=("flip", "crop2"),
    learning_rate=0.3,
    snapshots=0,
)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data():
    return scenes.scenes()


def random_predictions(count=7, shape=(5, 6), num_classes=3):
    """Probabilities and labels, of which a third is missing."""
    probs = RNG.dirichlet(np.ones(num_classes), (count, *shape)).astype("float32")
    labels = RNG.integers(0, num_classes, (count, *shape))
    labels[RNG.random(labels.shape) < 0.3] = UNLABELED
    labels[2] = UNLABELED  # An image without any.
    return probs, labels


def test_metrics_are_those_of_the_labeled_pixels_alone():
    probs, labels = random_predictions()
    known = labels != UNLABELED
    for name, metric in {**metrics.CLASSIFICATION, **metrics.SEGMENTATION}.items():
        expected = metric(probs[known], labels[known])
        assert metric(probs, labels) == expected, name
    found = metrics.compute(metrics.SEGMENTATION, probs, labels)
    assert found == {n: f(probs, labels) for n, f in metrics.SEGMENTATION.items()}
    for name in ("nll", "ece", "iou"):
        metric = Classification(name, num_classes=3)
        metric.update_state(labels[:4], probs[:4])
        metric.update_state(labels[4:], probs[4:])
        np.testing.assert_allclose(
            metric.result(), metrics.CLASSIFICATION[name](probs, labels), rtol=1e-5
        )
    with pytest.raises(ValueError, match="One pixel at least must be labeled"):
        metrics.nll(probs[2:3], labels[2:3])
    with pytest.raises(ValueError, match=r"in \[0, 3\), .*, or -1 for a pixel without"):
        metrics.nll(probs, np.where(labels == 1, 9, labels))


def test_scores_rank_the_labeled_pixels_and_errors_are_found_by_them():
    probs, labels = random_predictions()
    known = (labels != UNLABELED).ravel()
    scores = RNG.random(labels.size)
    flat = probs.reshape(-1, 3)[known], labels.ravel()[known]
    expected = metrics.raulc(*flat, scores[known])
    assert metrics.raulc(probs, labels, scores) == expected
    pairs = scores[~known][:, None] - scores[known]
    wins = np.mean(pairs > 0) + np.mean(pairs == 0) / 2
    assert metrics.void_auroc(probs, labels, scores) == pytest.approx(wins)
    most = probs.max(axis=-1).ravel()
    wins = np.mean(most[~known][:, None] < most[known])
    assert metrics.void_auroc(probs, labels) == pytest.approx(wins)
    assert math.isnan(metrics.void_auroc(probs, np.maximum(labels, 0)))
    # Of each pair of a wrong and a right pixel, which one is the less confident.
    confidence, wrong = flat[0].max(axis=1), flat[0].argmax(axis=1) != flat[1]
    low, high = confidence[wrong][:, None], confidence[~wrong]
    wins = np.mean((low < high) + (low == high) / 2)
    assert metrics.error_auroc(probs, labels) == pytest.approx(wins)
    order = np.argsort(confidence, kind="stable")
    precision = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    average = precision[wrong[order]].mean()
    assert metrics.error_aupr(probs, labels) == pytest.approx(average)
    assert math.isnan(metrics.error_aupr(np.eye(3)[[0, 1]], [0, 1]))


def test_metrics_by_class_and_by_image_are_those_of_their_pixels():
    probs, labels = random_predictions()
    found = metrics.by_class(probs, labels, ("a", "b", "c"))
    for number, name in enumerate("abc"):
        own = labels == number
        for metric in ("accuracy", "nll", "ece", "acc_90", "unc_90"):
            expected = metrics.CLASSIFICATION[metric](probs[own], labels[own])
            np.testing.assert_allclose(found[metric][name], expected, rtol=1e-12)
        predicted = (probs.argmax(axis=-1) == number) & (labels != UNLABELED)
        union = np.count_nonzero(predicted | own)
        assert found["iou"][name] == np.count_nonzero(predicted & own) / union
    assert np.mean([*found["iou"].values()]) == pytest.approx(
        metrics.iou(probs, labels)
    )
    recalls = [*found["accuracy"].values()]
    assert metrics.class_accuracy(probs, labels) == pytest.approx(np.mean(recalls))
    known = [i for i in range(len(labels)) if i != 2]
    means = metrics.means_by_image(metrics.BY_IMAGE, probs, labels)
    for name, value in means.items():
        metric = metrics.CLASSIFICATION[name.removeprefix("image_")]
        each = [metric(probs[i : i + 1], labels[i : i + 1]) for i in known]
        assert value == pytest.approx(np.mean(each)), name


def test_a_temperature_is_that_of_the_labeled_pixels():
    logits = RNG.normal(0, 3, (6, 4, 5, 3))
    labels = logits.argmax(axis=-1)
    labels[RNG.random(labels.shape) < 0.3] = 0
    expected = posterior.temperature.best_temperature(
        logits[:, :3].reshape(-1, 3), labels[:, :3].ravel()
    )
    labels[:, 3:] = UNLABELED
    found = posterior.temperature.best_temperature(logits, labels)
    assert found == pytest.approx(expected, rel=1e-9)


def loss_by_hand(model, images, labels, class_weights=(1, 1, 1)):
    """The weighted mean cross-entropy of the labeled pixels, and its gradients."""
    import tensorflow as tf

    known, labels = labels != UNLABELED, labels.astype("int32")
    with tf.GradientTape() as tape:
        logits = tf.boolean_mask(model(images, training=True), known)
        log_probs = tf.nn.log_softmax(logits)
        own = tf.gather(log_probs, labels[known], batch_dims=1)
        weights = tf.gather(tf.constant(class_weights, "float32"), labels[known])
        loss = -tf.reduce_sum(weights * own) / tf.reduce_sum(weights)
    return loss, tape.gradient(loss, model.trainable_variables)


@pytest.mark.parametrize("class_weights", [None, (0.5, 1.0, 3.0)])
def test_a_step_takes_the_mean_over_labeled_pixels(data, class_weights):
    model, recipe = pixelwise_network(), dataclasses.replace(RECIPE, momentum=0.0)
    recipe = dataclasses.replace(recipe, weight_decay=0.0, warmup_epochs=0)
    trained = trainer.compile_model(model, recipe, 10, jit_compile=False)
    trained.class_weights = class_weights
    labels = np.where(RNG.random(data.labels.shape) < 0.5, data.labels, UNLABELED)
    rate = float(trained.optimizer.learning_rate)
    given = (class_weights,) if class_weights else ()
    loss, gradients = loss_by_hand(model, data.images, labels, *given)
    before = [np.array(v) for v in model.trainable_variables]
    logs = trained.train_on_batch(data.images, labels, return_dict=True)
    assert logs["loss"] == pytest.approx(float(loss), rel=1e-5)
    pairs = zip(before, gradients, model.trainable_variables, strict=True)
    for old, gradient, variable in pairs:
        np.testing.assert_allclose(variable, old - rate * gradient, atol=1e-6)
    # Shown is the mean of each labeled pixel, whatever its class weighs.
    plain, _ = loss_by_hand(model, data.images, labels)
    again = trained.test_on_batch(data.images, labels, return_dict=True)
    assert again["nll"] == pytest.approx(float(plain), rel=1e-5)
    # Without any there is nothing to learn.
    nothing = np.full_like(labels, UNLABELED)
    before = [np.array(v) for v in model.trainable_variables]
    assert trained.train_on_batch(data.images, nothing)[0] == 0
    for old, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(variable, old)


def pixelwise_network():
    """A classifier of pixels in the shape of the scenes."""
    keras.utils.set_random_seed(0)
    images = keras.Input((*scenes.SHAPE, 1), name="images")
    x = keras.layers.Rescaling(1 / 128, -1, name="normalize")(images)
    x = keras.layers.Conv2D(8, 1, activation="relu", name="conv")(x)
    return keras.Model(images, keras.layers.Dense(3, name="head")(x), name="pixels")


def test_a_training_of_pixels_goes_on_and_divides_by_their_number(data, tmp_path):
    model = scenes.network(("mcdo50", "flipout"))
    recipe = dataclasses.replace(RECIPE, class_weights="median_frequency")
    rows = trainer.train(model, recipe, data, tmp_path / "whole", data)
    assert rows[-1]["loss"] < rows[0]["loss"]
    labeled = np.count_nonzero(data.labels >= 0)
    total = sum(float(la.divergence()) for la in [model.get_layer("head")])
    assert rows[-1]["kl"] == pytest.approx(total / labeled, rel=1e-4)
    model = scenes.network(("mcdo50", "flipout"))
    with pytest.raises(KeyboardInterrupt):
        interrupted(model, recipe, data, tmp_path / "part")
    model = scenes.network(("mcdo50", "flipout"))
    again = trainer.train(model, recipe, data, tmp_path / "part", data)
    assert without_time(again) == without_time(rows)


def interrupted(model, recipe, data, folder):
    """Stops after the first epoch."""

    def stop(*args):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        keep = trainer._Keeper.on_epoch_end

        def on_epoch_end(self, epoch, logs=None):
            keep(self, epoch, logs)
            stop()

        patch.setattr(trainer._Keeper, "on_epoch_end", on_epoch_end)
        trainer.train(model, recipe, data, folder, data)


def test_weights_by_the_median_frequency_are_those_of_the_definition(data):
    labels = np.array([[[0, 0], [0, 1]], [[0, 0], [2, -1]]])
    # Class 0 has 5 of 7 pixels, 1 one of the 4 beside it, 2 one of 3.
    frequencies = np.array([5 / 7, 1 / 4, 1 / 3])
    expected = np.median(frequencies) / frequencies
    found = task.median_frequency(labels, 4)
    np.testing.assert_allclose(found, [*expected, 0], rtol=1e-6)
    # Of one label an image, 3 and 1 of 4: both classes then weigh as much.
    of_images = task.median_frequency(np.array([0, 0, 0, 1]), 3)
    np.testing.assert_allclose(of_images, [0.5 / 0.75, 0.5 / 0.25, 0], rtol=1e-6)
    np.testing.assert_allclose(3 * of_images[0], of_images[1])


def test_objectives_for_images_alone_and_unknown_ones_are_refused(data):
    model = scenes.network()
    for name in ("augmix", "dign"):
        recipe = dataclasses.replace(RECIPE, objective=name)
        with pytest.raises(ValueError, match=f"'{name}' is for classification, and"):
            trainer.compile_model(model, recipe, 10)
    for name in ("map", "logit_norm", "vat"):
        changes = {"objective": name, "weight_decay": 0.0}
        recipe = dataclasses.replace(RECIPE, **changes)
        trained = trainer.compile_model(model, recipe, 10, jit_compile=False)
        assert isinstance(trained.objective, objective.Objective)
    with pytest.raises(ValueError, match="`class_weights` must be one of equal, med"):
        dataclasses.replace(RECIPE, class_weights="inverse")


@pytest.mark.parametrize("name", ["flip", "crop2", "resized_crop"])
def test_labels_move_with_their_pixels(name):
    # The brightness of a pixel is its class, in blocks that interpolation leaves flat.
    blocks = RNG.integers(0, 2, (64, 3, 3)).repeat(4, axis=1).repeat(4, axis=2)
    images = (60 + 60 * blocks[..., None]).astype("uint8")
    keys = random.fold(3, np.arange(64))
    moved = np.asarray(batches.augmented(images, keys, [augment.read(name)[1]]))[..., 0]
    labels = batches.augmented(blocks, keys, augment.read_of_maps([name]))
    labels = np.asarray(labels)
    expected = (moved.astype(int) - 60) / 60
    is_flat = expected == np.rint(expected)
    inside = np.where(moved == 0, UNLABELED, expected)
    assert is_flat.mean() > 0.3
    np.testing.assert_array_equal(labels[is_flat], inside[is_flat])
    assert (labels != blocks).any()
    # Between two classes it is one of them.
    assert np.abs(labels - expected)[~is_flat & (moved > 0)].max(initial=0) < 2


def test_batches_move_labels_with_their_pixels():
    images = scenes.scenes(24).images
    # Every pixel has one, so that those without are from outside, where it is black.
    labels = np.digitize(images[..., 0], (85, 170))
    data = dataclasses.replace(scenes.scenes(24), images=images, labels=labels)
    for moved, found in batches.train_batches(data, 8, ("flip", "crop2")):
        levels = np.asarray(moved)[..., 0]
        expected = np.where(levels == 0, UNLABELED, np.digitize(levels, (85, 170)))
        np.testing.assert_array_equal(found, expected)
        assert (np.asarray(found) == UNLABELED).any()


def test_what_cannot_move_labels_is_refused(data):
    with pytest.raises(ValueError, match="by randaugment move pixels, and not their l"):
        batches.train_batches(data, 8, ("flip", "randaugment"))
    with pytest.raises(ValueError, match="Views of an image move its pixels"):
        batches.train_batches(data, 8, (), views=((), ("flip",)))
    with pytest.raises(ValueError, match="mixup move pixels, and not their labels"):
        batches.train_batches(data, 8, ("mixup",))
    smaller = dataclasses.replace(data, labels=data.labels[:, ::2, ::2])
    with pytest.raises(ValueError, match=r"one for each pixel of an image. Received:"):
        batches.train_batches(smaller, 8, ("flip",))


def test_sets_of_maps_are_divided_named_and_told_apart(data):
    whole = scenes.scenes(20)
    parts = [validation.part(whole, split, 4) for split in ("train", "validation")]
    assert [len(part) for part in parts] == [18, 2]
    assert len(whole.sample(7)) == 7
    assert "% middle, " in whole.describe()
    assert "% of all pixels not labeled" in whole.describe()
    other = dataclasses.replace(data, labels=np.where(data.labels < 0, 2, data.labels))
    assert fingerprint.of_named(data) != fingerprint.of_named(other)
    turned = dataclasses.replace(data, classes=("bright", "dark", "middle"))
    again = class_names.relabeled(turned, scenes.CLASSES, "it")
    expected = np.where(data.labels < 0, -1, (data.labels + 2) % 3)
    np.testing.assert_array_equal(again.labels, expected)
    with pytest.raises(ValueError, match="'scenes' has no pixel with a label. Rec"):
        dataclasses.replace(data, labels=np.full_like(data.labels, UNLABELED))


def test_rows_of_stored_predictions_are_those_of_the_task(data, tmp_path):
    model = scenes.network(("mcdo50",))
    rows = evaluate.evaluate(model, data, (1, 2), batch_size=8, progress=False)
    passes = sampling.Passes(model, (1, 2), batch_size=8)
    stored = predictions.store(passes, data, tmp_path)
    assert [r["value"] for r in evaluate.rows(stored)] == pytest.approx(
        [r["value"] for r in rows], nan_ok=True
    )
    names = {row["metric"] for row in rows}
    assert names >= {*metrics.SEGMENTATION, *metrics.BY_IMAGE, "iou/bright", "nll/dark"}
    own = [r for r in rows if r["num_samples"] == 2 and "_auroc/" in r["metric"]]
    information = np.ravel(stored.mutual_information[1])
    found = {row["metric"]: row["value"] for row in own}
    assert found.keys() == {
        f"{kind}_auroc/{score}"
        for kind in ("void", "error")
        for score in ("entropy", "mutual_information")
    }
    for kind, function in metrics.PIXEL_RANKING.items():
        expected = function(stored.probs[1], data.labels, information)
        assert found[f"{kind}/mutual_information"] == pytest.approx(expected)
    probs = evaluate.predict(posterior.MonteCarlo(model, 2), data.images, [2])[0]
    known = data.labels != UNLABELED
    expected = metrics.nll(probs[known], data.labels[known])
    (value,) = [
        r["value"] for r in rows if r["num_samples"] == 2 and r["metric"] == "nll"
    ]
    assert value == pytest.approx(expected, rel=1e-5)
    assert layers.is_stochastic(model)


def test_a_step_of_large_maps_has_few_images():
    images = keras.Input((240, 320, 1))
    model = keras.Model(images, keras.layers.Conv2D(20, 1)(images))
    # 6 MB of logits for an image.
    assert sampling.Passes(model, (1,), batch_size=100).batch_size == 10
    assert sampling.Passes(pixelwise_network(), (1,), batch_size=100).batch_size == 100


def test_images_without_labels_of_pixels_are_out_of_distribution(data, tmp_path):
    other = dataclasses.replace(data, labels=np.zeros(len(data), "int32"), name="other")
    passes = sampling.Passes(pixelwise_network(), (1,), batch_size=8)
    stored = predictions.store(passes, other, tmp_path)
    assert stored.labels.shape == data.labels.shape


def test_derived_sets_move_labels_where_they_move_pixels():
    """Levels far apart tell which class a moved pixel mostly is of."""
    images = scenes.scenes(3).images // 64 * 64 + 32
    labels = np.digitize(images[..., 0], (85, 170))
    data = dataclasses.replace(scenes.scenes(3), images=images, labels=labels)

    def load(kind, rest):
        name = f"scenes_{kind}/{rest}"
        return loading.DERIVED[kind](name, "test", None, lambda: data)

    turned = load("rotation", "180")
    np.testing.assert_array_equal(turned.labels, labels[:, ::-1, ::-1])
    moved = load("translation", "3")
    np.testing.assert_array_equal(moved.labels, np.roll(labels, 3, axis=2))
    frames = load("p", "translate")
    assert len(frames.labels) == 3 * frames.frames
    shown = np.asarray(frames.images[:])[..., 0]
    expected = np.where(shown == 0, UNLABELED, np.digitize(shown, (85, 170)))
    np.testing.assert_array_equal(frames.labels, expected)
    noisy = load("p", "gaussian_noise")
    np.testing.assert_array_equal(noisy.labels, labels.repeat(noisy.frames, axis=0))
    other = load("size", "16")
    shown = np.asarray(other.images[:])[..., 0]
    # Away from the borders of classes, where levels are blended.
    pure = np.isin(shown, np.unique(images))
    expected = np.digitize(shown, (85, 170))
    known = other.labels != UNLABELED
    assert np.mean((other.labels == expected)[pure & known]) > 0.9
    assert other.labels.shape == shown.shape


def test_an_attack_is_on_the_labeled_pixels(data):
    probs = RNG.dirichlet(np.ones(3), (4, 5, 6)).astype("float32")
    labels = RNG.integers(0, 3, (4, 5, 6))
    labels[RNG.random(labels.shape) < 0.4] = UNLABELED
    found = np.asarray(expectation.wrong(labels, probs))
    for number, own in enumerate(labels):
        known = own != UNLABELED
        share = np.mean(probs[number].argmax(axis=-1)[known] != own[known])
        assert found[number] == pytest.approx(share)


def test_the_task_of_numbers_measures_gaussians():
    means, scales = RNG.normal(size=9), RNG.uniform(1, 2, 9)
    targets = RNG.normal(size=9)
    predicted = np.stack([means, scales], axis=-1)
    found = dict(task.TASKS["regression"].measure(predicted, targets, ()))
    assert found["crps"] == metrics.REGRESSION["crps"](means, scales, targets)
    assert found.keys() == metrics.REGRESSION.keys()
    assert outputs.TASKS.keys() == {2, 4}
    assert {*outputs.TASKS.values()} < task.TASKS.keys()
