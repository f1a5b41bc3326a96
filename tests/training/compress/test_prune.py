"""Pruning: the schedule in closed form, exact shares, and trainings that resume."""

import dataclasses

import keras
import numpy as np
import pytest

import layers
from tests.helpers import marks, processes
from tests.helpers.networks import as_numpy
from tests.helpers.trainings import RECIPE, dense_model, stripes, without_time
from training import trainer
from training.compress import prune
from training.compress.prune import Filters, Magnitude, MagnitudePruning, Slimming
from zoo.channels import Channels, multiply_adds
from zoo.compressed import compression_of

SPARSE = dataclasses.replace(
    RECIPE, snapshots=0, pruning="magnitude:sparsity=0.7:end=0.5:every=2"
)


def network(depth=2):
    """A residual network whose maps are few."""
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 1), name="images")
    x = keras.layers.Rescaling(1 / 64, -2, name="normalize")(images)
    x = keras.layers.Conv2D(6, 3, strides=2, use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(momentum=0.9, name="stem_norm")(x)
    for i in range(depth):
        y = keras.layers.Conv2D(8, 3, padding="same", name=f"a{i}")(keras.ops.relu(x))
        y = layers.BatchNormalization(momentum=0.9, name=f"norm{i}")(y)
        y = keras.layers.Conv2D(6, 3, padding="same", name=f"b{i}")(keras.ops.relu(y))
        x = keras.layers.Add(name=f"add{i}")([x, y])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, keras.layers.Dense(2, name="head")(x), name="small")


def test_the_schedule_is_the_closed_form():
    steps = np.arange(-3, 30)
    found = as_numpy(prune.cubic_sparsity(steps, 0.2, 0.9, 5, 21))
    place = np.clip((steps - 5) / 16, 0, 1)
    np.testing.assert_allclose(found, 0.9 - 0.7 * (1 - place) ** 3, rtol=1e-5)
    assert found[steps <= 5].max() == pytest.approx(0.2)
    assert found[steps >= 21].min() == pytest.approx(0.9)
    assert (np.diff(found) >= 0).all()
    first, *_, last = np.diff(found[8:25])  # Fast at first, and then slower.
    assert first > 20 * last


def shares(num_steps, **settings):
    """The share of zeros behind each step of a pruning."""
    keras.utils.set_random_seed(0)
    images = x = keras.Input((40,))
    for _ in range(2):
        x = keras.layers.Dense(10)(x)
    settings = Magnitude(0.8, **settings)
    pruning = MagnitudePruning(settings, num_steps, keras.Model(images, x))
    found = []
    for _ in range(num_steps):
        pruning.apply()
        found.append(pruning.measured()["sparsity"])
    return found


@pytest.mark.parametrize("begin, end", [(0, 0.01), (0.5, 0.55)])
def test_a_single_step_prunes_all_at_once(begin, end):
    first = int(8 * begin)
    assert shares(8, begin=begin, end=end) == [0] * first + [0.8] * (8 - first)


def test_sparse_weights_stay_so_before_the_pruning_begins():
    found = shares(8, initial=0.5, begin=0.5, end=1.0)
    assert found[:5] == [0.5] * 5
    assert found[-1] == 0.8


def kernels(model):
    return [
        as_numpy(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")
    ]


def test_the_least_weights_of_all_layers_together_are_zero_and_stay_so():
    model = network(1)
    pruning = MagnitudePruning(Magnitude(0.6, end=1.0, every=1), 4, model)
    before = np.concatenate([np.abs(k).ravel() for k in kernels(model)])
    for step in range(4):
        pruning.apply()
        found = np.concatenate([np.abs(k).ravel() for k in kernels(model)])
        share = float(0.6 * (1 - (1 - step / 3) ** 3))
        count = int(np.ceil(share * len(found) - 1e-6))
        assert np.sum(found == 0) == count
        # These are the least ones, and the others are as they were.
        least = np.argsort(before, kind="stable")[:count]
        assert not found[least].any()
        np.testing.assert_array_equal(found[found > 0], before[found > 0])
    assert pruning.measured()["sparsity"] == pytest.approx(0.6, abs=1 / len(before))
    for layer in pruning.layers:
        layer.kernel.assign(layer.kernel + 1)
    pruning.apply()  # Behind the last choice.
    again = np.concatenate([np.abs(k).ravel() for k in kernels(model)])
    np.testing.assert_array_equal(again == 0, found == 0)


def fit(folder, **kwargs):
    model = dense_model()  # Convolutions compile for seconds.
    rows = trainer.train(model, SPARSE, stripes(), folder, stripes(40), **kwargs)
    return model, rows


def test_a_step_makes_weights_zero():
    model = dense_model()
    recipe = dataclasses.replace(SPARSE, pruning="magnitude:sparsity=0.6:initial=0.5")
    trained = trainer.compile_model(model, recipe, 16)
    trained.run_eagerly = True
    data = stripes(16)
    for step in range(2):
        trained.train_on_batch(data.images, data.labels)
        (kernel,) = kernels(model)
        share = float(prune.cubic_sparsity(step, 0.5, 0.6, 0, 1))
        assert np.sum(kernel == 0) == np.ceil(share * kernel.size - 1e-3)


@pytest.mark.slow
def test_a_training_keeps_the_share_and_resumes(tmp_path, monkeypatch):
    model, rows = fit(tmp_path / "whole")
    total = sum(kernel.size for kernel in kernels(model))
    assert sum(np.sum(k == 0) for k in kernels(model)) == np.ceil(0.7 * total)
    assert [row["sparsity"] for row in rows][-1] == pytest.approx(0.7, abs=1 / total)
    assert rows[0]["sparsity"] < 0.7
    original, steps = trainer._Keeper.on_train_batch_end, iter(range(1, 1000))

    def interrupted(self, batch, logs=None):
        original(self, batch, logs)
        if next(steps) == 4:  # Between two choices.
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Keeper, "on_train_batch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "stopped", checkpoint_seconds=0)
    resumed, resumed_rows = fit(tmp_path / "stopped")
    assert without_time(resumed_rows) == without_time(rows)
    for one, other in zip(model.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


def test_filters_go_that_count_the_least():
    model, rng = network(), np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(rng.permutation(layer.gamma.shape[0]) + 1.0)
    channels = Channels(model)
    groups = {group.name: group for group in channels.groups}
    assert {*groups} == {"a0", "a1", "b0"}
    removed = dict(
        (group.name, numbers)
        for group, numbers in prune.chosen_filters(channels, Filters(0.4))
    )
    size = {
        name: np.abs(as_numpy(model.get_layer(name).kernel))
        for name in ["stem", "b0", "b1", "a0"]
    }
    norms = {name: kernel.mean(axis=(0, 1, 2)) for name, kernel in size.items()}
    together = norms["stem"] + norms["b0"] + norms["b1"]
    assert removed["b0"] == sorted(np.argsort(together)[:3])  # Of six, rounded up.
    assert removed["a0"] == sorted(np.argsort(norms["a0"])[:4])
    by_scale = dict(
        (group.name, numbers)
        for group, numbers in prune.chosen_filters(channels, Slimming(0.5))
    )
    scale = as_numpy(model.get_layer("norm1").gamma)
    assert by_scale["a1"] == sorted(np.argsort(scale)[:4])
    made = prune.without_filters(model, Filters(0.5))
    assert compression_of(made) == {"filters": {"a0": 4, "a1": 4, "b0": 3}}
    assert multiply_adds(made) < 0.4 * multiply_adds(model)
    # Once more, of what is left.
    again = prune.without_filters(made, Filters(0.25))
    assert compression_of(again) == {"filters": {"a0": 3, "a1": 3, "b0": 2}}


def test_settings_and_networks_that_do_not_fit_are_errors():
    for sparsity in (0, 1, -0.1, 1.5, "a", True):
        for kind in (Magnitude, Filters, Slimming):
            with pytest.raises(ValueError, match="`sparsity` is the share.*Received"):
                kind(sparsity)
    for changes in ({"begin": 0.8}, {"end": 1.2}, {"initial": 0.9}, {"every": 0.5}):
        with pytest.raises(ValueError, match="begins before it ends"):
            Magnitude(0.8, **changes)
    with pytest.raises(ValueError, match="Unknown pruning 'magnitud'"):
        prune.read("magnitud:sparsity=0.5")
    with pytest.raises(ValueError, match="A pruning needs a sparsity"):
        prune.read("filters")
    assert prune.read("") is None
    with pytest.raises(
        ValueError, match="would leave the layer 'b0' empty, which has 6"
    ):
        prune.without_filters(network(), Filters(0.9))
    model = network(1)
    model.get_layer("stem").kernel.assign(1e-6 * model.get_layer("stem").kernel)
    with pytest.raises(ValueError, match="leave the layer 'stem' of 'small' empty"):
        MagnitudePruning(Magnitude(0.5), 10, model)
    pruning = MagnitudePruning(Magnitude(0.01), 10, model)
    model.get_layer("stem").kernel.assign(0 * model.get_layer("stem").kernel)
    with pytest.raises(ValueError, match="'stem' has no weight left"):
        pruning.measured()
    images = keras.Input((4,))
    bare = keras.Model(images, keras.layers.ReLU()(images))
    with pytest.raises(ValueError, match="no convolution and no dense layer"):
        MagnitudePruning(Magnitude(0.5), 10, bare)
    plain = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(2)]
    )
    with pytest.raises(ValueError, match="ranked by the scales of normalizations"):
        prune.without_filters(plain, Slimming(0.5))


@marks.on_others
def test_other_backends_prune_alike(backend):
    processes.check_on(backend, __file__)
