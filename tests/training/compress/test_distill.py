"""Losses of distillation by NumPy, and teachers."""

import dataclasses

import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from keras import ops

import zoo
from tests.helpers.networks import as_numpy
from tests.helpers.trainings import RECIPE, dense_model, stripes
from training import trainer
from training.compress import distill
from training.objectives import distillation
from zoo.classifier import named
from zoo.posterior import DeepEnsemble, MonteCarlo

RNG = np.random.default_rng(0)
SAMPLES = RNG.normal(0, 2, size=(5, 7, 3)).astype("float32")
LOGITS = RNG.normal(0, 2, size=(7, 3)).astype("float32")
TAUGHT = dataclasses.replace(RECIPE, snapshots=0, objective="distillation", teacher="t")


def softmax(logits):
    return scipy.special.softmax(np.asarray(logits, "float64"), axis=-1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_divergence_is_that_from_the_mean_of_probabilities(temperature):
    p = softmax(SAMPLES / temperature).mean(axis=0)
    q = softmax(LOGITS / temperature)
    expected = temperature**2 * np.sum(p * np.log(p / q), axis=-1)
    found = as_numpy(distill.divergence(SAMPLES, LOGITS, temperature))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # A student that predicts the mean has nothing left to learn.
    own = temperature * np.log(p).astype("float32")
    assert np.abs(as_numpy(distill.divergence(SAMPLES, own, temperature))).max() < 1e-4


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_dirichlet_loss_is_minus_its_log_density(temperature):
    p = softmax(SAMPLES / temperature)
    p = (1 - 1e-3) * p + 1e-3 / 3
    p /= p.sum(axis=-1, keepdims=True)
    a = np.exp(LOGITS.astype("float64") / temperature)
    expected = [
        -np.mean([scipy.stats.dirichlet.logpdf(s[row], a[row]) for s in p])
        for row in range(7)
    ]
    found = distill.dirichlet_loss(SAMPLES, LOGITS, temperature, smoothing=1e-3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def student(classes=("rows", "columns")):
    return named(dense_model(0.0), classes)


def taught(posterior, recipe=TAUGHT, model=None):
    """A compiled student of a teacher that is given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "load_teacher", lambda *_: posterior)
        return trainer.compile_model(model or student(), recipe, 16)


def teacher(seed, classes=()):
    keras.utils.set_random_seed(seed)
    images = keras.Input((12, 12, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64, -2)(images))
    return named(keras.Model(images, keras.layers.Dense(2)(x)), classes)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_step_sees_the_mean_of_an_ensemble_in_the_order_of_the_classes(policy):
    models = [teacher(1), teacher(2)]
    turned = [teacher(1, ("columns", "rows")), teacher(2, ("columns", "rows"))]
    data = stripes(16)
    images = data.images.astype("float32")
    p = np.mean([softmax(m(images) / np.float32(4)) for m in models], axis=0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = student()
    finally:
        keras.config.set_dtype_policy(before)
    trained, own = taught(DeepEnsemble(turned), model=model), p[:, ::-1]
    trained.run_eagerly = True
    twin = keras.models.clone_model(trained)
    twin.set_weights(trained.get_weights())
    logits = as_numpy(ops.cast(twin(images, training=True), "float32"))
    q, labels = softmax(logits / 4), data.labels
    nll = -np.log(softmax(logits))[np.arange(16), labels]
    expected = 0.1 * nll + 0.9 * 16 * np.sum(own * np.log(own / q), axis=-1)
    logs = trained.train_on_batch(images, labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected.mean(), rtol=1e-3)
    np.testing.assert_allclose(logs["nll"], nll.mean(), rtol=1e-4)
    # Those of the teachers stay.
    np.testing.assert_array_equal(
        turned[0].get_weights()[0], models[0].get_weights()[0]
    )


def of_pixels(seed, classes=()):
    keras.utils.set_random_seed(seed)
    images = keras.Input((12, 12, 1))
    x = keras.layers.Rescaling(1 / 64, -2)(images)
    return named(keras.Model(images, keras.layers.Conv2D(2, 1)(x)), classes)


def test_labels_of_each_pixel_have_a_divergence_each():
    posterior = DeepEnsemble([of_pixels(n, ("columns", "rows")) for n in (1, 2)])
    model, images = of_pixels(3, ("rows", "columns")), stripes(16).images
    masks = np.random.default_rng(0).integers(-1, 2, images.shape[:-1])
    p = softmax(as_numpy(posterior(images)) / 4).mean(axis=0)[..., ::-1]
    logits, known = as_numpy(model(images)), masks >= 0
    nll = -np.log(np.take_along_axis(softmax(logits), masks[..., None] * 1, -1))[..., 0]
    q = softmax(logits / 4)
    expected = 0.1 * nll + 0.9 * 16 * np.sum(p * np.log(p / q), axis=-1)
    assert expected[known].mean() > 1.1 * (0.1 * nll)[known].mean()
    trained = taught(posterior, model=model)
    logs = trained.train_on_batch(images, masks, return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected[known].mean(), rtol=1e-4)
    # The other one is not for maps.
    spread = dataclasses.replace(TAUGHT, objective="distribution_distillation")
    with pytest.raises(ValueError, match="is for classification, and the model"):
        taught(posterior, spread, model)


@pytest.mark.slow
def test_passes_of_a_teacher_are_drawn_anew_in_each_step():
    posterior = MonteCarlo(dense_model(), 3)
    found = distill.Teacher(posterior, student(), "t")
    images = stripes(4).images
    first, second = (as_numpy(found.logits(images, 5)) for _ in range(2))
    assert first.shape == (3, 4, 2)
    assert np.abs(first - second).max() > 1e-3
    again = distill.Teacher(posterior, student(), "t")
    np.testing.assert_array_equal(again.logits(images, 5), first)


@pytest.mark.slow
def test_a_student_learns_the_spread_of_its_teacher():
    """Of one that says 90 % and 60 % of all images, the Dirichlet in between."""
    recipe = dataclasses.replace(
        TAUGHT,
        objective="distribution_distillation:temperature=1",
        epochs=300,
        learning_rate=0.05,
        warmup_epochs=0,
        weight_decay=0.0,
    )
    images = keras.Input((12, 12, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(0.0)(images))
    model = keras.Model(images, keras.layers.Dense(2, name="head")(x))
    members = [teacher(seed) for seed in (1, 2)]
    for member, share in zip(members, (0.9, 0.6), strict=True):
        head = member.layers[-1]
        head.kernel.assign(0 * head.kernel)
        head.bias.assign(np.log([share, 1 - share]))
    trained = taught(DeepEnsemble(members), recipe, model)
    data = stripes(16)
    losses = [
        trained.train_on_batch(data.images, data.labels, return_dict=True)["loss"]
        for _ in range(300)
    ]
    assert losses[-1] < losses[0]
    logs = np.log([[0.9, 0.1], [0.6, 0.4]])

    def loss(a):
        return -np.mean(
            scipy.special.gammaln(a.sum())
            - scipy.special.gammaln(a).sum()
            + logs @ (a - 1)
        )

    found = np.exp(as_numpy(model.get_layer("head").bias).astype("float64"))
    best = scipy.optimize.minimize(lambda z: loss(np.exp(z)), np.zeros(2), tol=1e-9)
    assert loss(found) - best.fun < 0.05
    assert 0.7 < found[0] / found.sum() < 0.8
    information = zoo.posterior.PriorNetwork(model, 1).scored(data.images[:1])[1]
    assert 0.005 < float(information["epistemic"][0]) < 0.2


def test_teachers_that_do_not_fit_are_errors():
    three = keras.Sequential(
        [keras.Input((12, 12, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    with pytest.raises(
        ValueError, match="'t' has other classes.*3 classes of the teach"
    ):
        taught(MonteCarlo(three, 1))
    with pytest.raises(
        ValueError, match="classes of the network are not those of the t"
    ):
        taught(MonteCarlo(teacher(0, ("cat", "dog")), 1))
    larger = keras.Sequential(
        [keras.Input((13, 12, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    with pytest.raises(ValueError, match=r"takes images of shape \(13, 12, 1\)"):
        taught(MonteCarlo(larger, 1))
    with pytest.raises(ValueError, match="learns from another network"):
        trainer.compile_model(student(), dataclasses.replace(TAUGHT, teacher=""), 16)
    spread = dataclasses.replace(TAUGHT, objective="distribution_distillation")
    with pytest.raises(ValueError, match="this teacher has one"):
        taught(MonteCarlo(teacher(0), 1), spread)
    for text, said in (
        ("distillation:temperature=0", "`temperature`.*must be positive"),
        ("distillation:weight=1.5", r"`weight` is that.*in \[0, 1\]"),
        ("distribution_distillation:temperature=0.5", "must be 1 or more"),
        ("distribution_distillation:smoothing=0", "`smoothing` is a part"),
    ):
        with pytest.raises(ValueError, match=said):
            taught(
                MonteCarlo(teacher(0), 1), dataclasses.replace(TAUGHT, objective=text)
            )


def test_the_temperature_falls_to_one_in_the_first_half():
    recipe = dataclasses.replace(
        TAUGHT, objective="distribution_distillation", epochs=8
    )
    trained = taught(MonteCarlo(dense_model(), 2), recipe)
    now = trained.objective.variables[1]
    found = []
    for epoch in range(8):
        trained.begin_epoch(epoch)
        found.append(float(now.value))
    expected = [10, 7.75, 5.5, 3.25, 1, 1, 1, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert distillation.ANNEALED_FROM == 10


@pytest.mark.slow
def test_names_of_teachers_are_names_of_models_and_ensembles():
    found = distill.load_teacher("resnet20_mcdo.fashion_mnist")
    assert (type(found), found.num_samples) == (MonteCarlo, distill.NUM_SAMPLES)
    assert distill.load_teacher("resnet20.fashion_mnist@mc:num_samples=3").num_samples
    pair = distill.load_teacher("resnet20.fashion_mnist+resnet20_smooth.fashion_mnist")
    assert (type(pair), pair.num_samples) == (DeepEnsemble, 2)
