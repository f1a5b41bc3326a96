"""Recipes, learning rates and the optimizer, against PyTorch's update rule."""

import dataclasses
import pkgutil
import re

import keras
import numpy as np
import pytest

from training import augment, objectives, optimizer, recipes
from training.objectives import logit_norm
from training.recipes.base import Recipe
from training.run import load_recipe

NAMES = [m.name for m in pkgutil.iter_modules(recipes.__path__) if m.name != "base"]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_loads_and_ends_with_a_smaller_rate(name):
    recipe = load_recipe(name)
    rate = optimizer.learning_rate(recipe, 10)
    rates = np.asarray(rate(np.arange(recipe.epochs * 10)))
    first, last, highest = rates[0], rates[-1], rates.max()
    np.testing.assert_allclose(highest, recipe.learning_rate, rtol=1e-3)
    assert 0 < first <= highest
    assert last < highest / 10


def test_an_unknown_recipe_offers_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'fashion_mnist'"):
        load_recipe("fashion_minst")


def test_steps_fall_at_the_milestones_after_the_warm_up():
    recipe = Recipe("x", schedule="step", epochs=11, milestones=(4, 6), decay=0.2)
    rate = optimizer.learning_rate(recipe, 3)
    rates = [float(rate(step)) for step in range(33)]
    warm_up = [0.1 / 3, 0.2 / 3, 0.1]
    expected = warm_up + [0.1] * 12 + [0.02] * 6 + [0.004] * 12
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_without_milestones_the_rate_stays():
    recipe = Recipe("x", schedule="step", epochs=5, warmup_epochs=0)
    rate = optimizer.learning_rate(recipe, 3)
    np.testing.assert_allclose([float(rate(step)) for step in range(16)], 0.1)


def test_a_cosine_ends_at_zero():
    rate = optimizer.learning_rate(Recipe("x", epochs=11), 3)
    for step in range(3, 33):
        expected = 0.05 * (1 + np.cos(np.pi * (step - 3) / 30))
        np.testing.assert_allclose(float(rate(step)), expected, atol=1e-6)


def test_the_schedule_survives_its_config():
    rate = optimizer.learning_rate(Recipe("x", epochs=11), 3)
    config = keras.saving.serialize_keras_object(rate)
    again = keras.saving.deserialize_keras_object(config)
    assert [float(again(s)) for s in range(33)] == [float(rate(s)) for s in range(33)]


def test_weights_decay_as_fast_as_with_pytorch():
    """Without a gradient, PyTorch's rule is a recursion of two numbers."""
    recipe = Recipe("x", weight_decay=5e-4, nesterov=False, warmup_epochs=0)
    layer = keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.Input((1,)), layer])
    layer.kernel.assign([[1.0]])
    keras_optimizer = optimizer.optimizer(recipe, 1000, model)
    weight, velocity = 1.0, 0.0
    for step in range(300):
        keras_optimizer.apply([np.zeros((1, 1), "float32")], [layer.kernel])
        rate = 0.05 * (1 + np.cos(np.pi * step / 200_000))
        velocity = 0.9 * velocity + 5e-4 * weight
        weight -= rate * velocity
    np.testing.assert_allclose(layer.kernel[0, 0], weight, rtol=1e-2)
    assert weight < 0.9


@pytest.mark.parametrize(
    "bad",
    [
        *[{"batch_size": 0}, {"epochs": 0}, {"epochs": 1}, {"warmup_epochs": -1}],
        *[{"learning_rate": x} for x in (0.0, -1.0, np.nan, np.inf)],
        *[{"schedule": "linear"}, {"decay": 0.0}, {"decay": 1.5}],
        *[{"milestones": x} for x in ((3, 2), (0,), (2, 2), (1.5,), ("a",))],
        *[{"momentum": 1.0}, {"momentum": -0.1}, {"ema_momentum": 1.0}],
        *[{"weight_decay": -1.0}, {"weight_decay": np.inf}],
        *[{"clip_norm": x} for x in (-1.0, np.inf, "a")],
        *[{"stochastic_depth": x} for x in (-0.1, 1.0, np.nan)],
        *[{"label_smoothing": 1.0}, {"label_smoothing": 1.5}],
        *[
            {"augmentations": ("flip", 1)},
            {"image_size": (64,)},
            {"image_size": (0, 9)},
        ],
        *[{"normalization": x} for x in (((1.0,), (0.0,)), ((1.0,), (1.0, 2.0)), 3)],
    ],
)
def test_a_setting_out_of_its_range_is_refused_by_name(bad):
    ((name, value),) = bad.items()
    text = re.escape(f"{name}={value}")
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {text}"):
        dataclasses.replace(Recipe("x"), **bad)


def test_settings_of_an_objective_stand_behind_it():
    for text in ("duq:penalty=0.5", "logit_norm:temperature=2", "augmix"):
        assert Recipe("x", objective=text).objective == text
    found = objectives.read("logit_norm:temperature=2")
    assert (found.func, found.keywords) == (logit_norm.logit_norm, {"temperature": 2})
    for text, message in (
        ("fgms", "Unknown objective 'fgms'. Did you mean 'fgsm'.*cross_entropy, "),
        ("duq:penal=1", "'duq': penalty"),
        ("augmix:weight=1", "'augmix': none"),
        ("duq:penalty=x", "'penalty' .* is no number"),
        ("duq:", "'duq': penalty"),
        (3, "`objective` must be one of .*duq:pen"),
    ):
        with pytest.raises(ValueError, match=f"{message}.*objective={text}"):
            Recipe("x", objective=text)


def test_a_recipe_knows_the_corruptions_that_it_trains_on_the_like_of():
    assert Recipe("x").overlaps == ()
    assert Recipe("x", objective="augmix").overlaps == ()
    both = Recipe("x", objective="dign:sigma=1", augmentations=("randaugment",))
    assert both.overlaps == (*augment.overlaps(["randaugment"]), "gaussian_noise")
    with pytest.raises(ValueError, match="`factor` is the strength.*factor=2"):
        Recipe("x", augmentations=("randaugment:factor=2",))
    with pytest.raises(ValueError, match="'mixupp'. Did you mean 'mixup'"):
        Recipe("x", augmentations=("mixupp:alpha=1",))


def test_the_ends_of_the_ranges_are_in_them():
    zeros = {"momentum": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0}
    ones = {"epochs": 1, "batch_size": 1, "decay": 1.0, "image_size": (1, 1)}
    Recipe("x", warmup_epochs=0, milestones=(1, 2), **zeros, **ones)
    Recipe("x", normalization=((0.0, -1.0), (1.0, 2.0)), augmentations=())


def test_all_wrong_settings_are_named_together():
    with pytest.raises(ValueError, match=r"batch_size=0.*momentum=1.0.*decay=-1"):
        Recipe("x", batch_size=0, momentum=1.0, weight_decay=-1.0)


@pytest.mark.parametrize("kind", optimizer.OPTIMIZERS)
def test_gradients_are_shortened_together(kind):
    """As PyTorch's `clip_grad_norm_` does, by the definition."""
    recipe = Recipe("x", optimizer=kind, clip_norm=2.0, weight_decay=0.0)
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=shape).astype("float32") for shape in ((3, 4), (5,))]
    norm = np.sqrt(sum(np.sum(np.square(x)) for x in gradients))
    for length in (0.5, 4.0):
        scaled = [x * np.float32(length / norm) for x in gradients]
        found = optimizer.clipped([scaled[0], None, scaled[1]], 2.0)
        assert found[1] is None
        for one, other in zip((found[0], found[2]), scaled, strict=True):
            np.testing.assert_allclose(one, other * min(1, 2 / length), rtol=1e-5)
    weights = [keras.Variable(np.zeros(x.shape)) for x in gradients]
    model = keras.Sequential([keras.Input((1,))])
    made = optimizer.optimizer(recipe, 10, model)
    again = type(made).from_config(made.get_config())
    assert again.clip_norm == made.clip_norm == 2.0
    expected = [keras.Variable(np.zeros(x.shape)) for x in gradients]
    plain = optimizer.optimizer(dataclasses.replace(recipe, clip_norm=0.0), 10, model)
    for updater, own, factor in ((made, weights, 1), (plain, expected, 2 / norm)):
        updater.build(own)
        for _ in range(2):
            updater.apply([x * np.float32(factor) for x in gradients], own)
    assert norm > 3
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", [optimizer.MomentumSGD, optimizer.AdamW])
def test_gradients_that_are_accumulated_are_shortened_together(kind):
    """The update is of their mean, and so is its norm."""
    first, second = np.float32([6, 0, 8]), np.float32([-6, 0, -7])
    weights, expected = (keras.Variable(np.zeros(3, "float32")) for _ in range(2))
    made = kind(0.1, clip_norm=0.25, gradient_accumulation_steps=2)
    made.build([weights])
    for gradient in (first, second):
        made.apply([keras.ops.convert_to_tensor(gradient)], [weights])
    plain = kind(0.1)
    plain.build([expected])
    mean = (first + second) / 2  # Of the norm 0.5.
    plain.apply([keras.ops.convert_to_tensor(mean / 2)], [expected])
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    assert np.abs(weights).max() > 0.01


def test_the_recipe_of_the_paper_on_attention_has_its_settings():
    recipe = load_recipe("cifar100_alternet")
    assert (recipe.optimizer, recipe.clip_norm, recipe.stochastic_depth) == (
        *("adamw", 5.0, 0.1),
    )
    assert recipe.epochs - recipe.warmup_epochs == 300
    assert recipe.overlaps == augment.overlaps(["randaugment"])
    _, mix = augment.read_all(recipe.augmentations)
    assert mix is not None
