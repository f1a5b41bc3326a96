"""The weight of KL divergences: schedules, steps, rows and checkpoints."""

import dataclasses

import keras
import numpy as np
import pytest

import layers
from tests.helpers import marks
from tests.helpers.trainings import RECIPE, stripes, without_time
from training import trainer
from training.bayesian.kl_weight import SCHEDULES, KLWeight
from training.recipes.base import Recipe


def gaussian_model(factors=False):
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64, -2, name="scale")(images))
    if factors:
        x = layers.DenseRank1(4, num_members=2, name="factors")(x)
    head = layers.DenseFlipout(2, initial_scale=0.1, name="head")
    return keras.Model(images, head(x), name="flat")


def by_hand(name, step, steps, length):
    if name == "linear":
        return min((step + 1) / length, 1)
    if name == "cyclic":
        return min(2 * (step % length + 1) / length, 1)
    if name == "blundell":
        i = step % steps + 1
        return steps * 2 ** (steps - i) / (2**steps - 1)  # Of whole numbers.
    return 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_these(name):
    recipe = Recipe("x", epochs=8, kl_schedule=name, kl_weight=0.5)
    for steps, epochs in ((5, 0.0), (5, 3.0), (1500, 0.0)):
        set_to = dataclasses.replace(recipe, kl_epochs=epochs)
        weight, found = KLWeight(set_to, steps, gaussian_model()), []
        length = steps * (epochs or 2)
        for _ in range(15):
            found.append(float(weight.now()))
            weight.advance()
        expected = [0.5 * by_hand(name, step, steps, length) for step in range(15)]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert by_hand("blundell", 0, 2, 0) + by_hand("blundell", 1, 2, 0) == 2


@pytest.mark.parametrize(
    "objective", marks.few(["cross_entropy", "logit_norm"], ["logit_norm"])
)
def test_a_step_weighs_the_divergence_and_an_evaluation_does_not(objective):
    recipe = Recipe(
        "x",
        batch_size=4,
        objective=objective,
        learning_rate=1e-12,
        kl_schedule="blundell",
        kl_weight=0.5,
    )
    images = stripes(12).images.astype("float32")
    labels = np.zeros(12, "int32")
    model = gaussian_model()
    trained = trainer.compile_model(model, recipe, 12)
    divergence = float(model.get_layer("head").divergence()) / 12
    losses = []
    # The noise is that of the call, so that only the weight differs.
    for weight in (1.0, None):
        if weight is not None:
            keep, trained.kl_weight = trained.kl_weight, None
        layers.set_seed(model, 0)
        for _ in range(4):
            trained.reset_metrics()
            losses.append(trained.train_on_batch(images[:4], labels[:4])[0])
        trained.kl_weight = keep
        trained.make_train_function(force=True)
    without, weighted = np.reshape(losses, (2, 4))
    shares = np.array([4, 2, 1, 4]) * 3 / 7  # Three batches make an epoch.
    expected = without + (0.5 * shares - 1) * divergence
    np.testing.assert_allclose(weighted, expected, rtol=1e-4)


def test_divergence_and_nll_are_logged_apart_and_a_stop_changes_nothing(
    tmp_path, monkeypatch
):
    recipe = dataclasses.replace(
        RECIPE,
        epochs=2,
        snapshots=0,
        kl_schedule="linear",
        kl_epochs=2.0,
        kl_weight=2.0,
    )

    def fit(folder, **kwargs):
        model = gaussian_model(factors=True)
        rows = trainer.train(
            model, recipe, stripes(), tmp_path / folder, stripes(40), **kwargs
        )
        return model, rows

    model, rows = fit("whole")
    names = "factors", "head"
    parts = [float(model.get_layer(name).divergence()) for name in names]
    assert min(parts) > 1
    expected = sum(parts) / 80
    np.testing.assert_allclose(rows[-1]["kl"], expected, rtol=1e-6)
    for row in rows:
        np.testing.assert_allclose(
            row["val_loss"], row["val_nll"] + 2 * row["kl"], rtol=1e-4
        )
        assert row["kl"] > 0.1
    # Of the next step: of ten, the sixth and one after the warm-up.
    assert [row["kl_weight"] for row in rows] == pytest.approx([1.2, 2.0])

    original, steps = trainer._Keeper.on_train_batch_end, iter(range(1, 100))

    def interrupted(self, batch, logs=None):
        original(self, batch, logs)
        if next(steps) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Keeper, "on_train_batch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit("stopped", checkpoint_seconds=0)
    assert without_time(fit("stopped")[1]) == without_time(rows)


def test_a_network_without_gaussian_weights_has_no_divergence_to_weigh():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="plain")
    KLWeight(Recipe("x"), 5, model)
    for changes in ({"kl_weight": 0.5}, {"kl_schedule": "linear"}):
        with pytest.raises(ValueError, match="for networks with Gaussian.*model=plain"):
            KLWeight(Recipe("x", **changes), 5, model)
    with pytest.raises(ValueError, match="`kl_schedule` must be one of constant, lin"):
        Recipe("x", kl_schedule="square")
