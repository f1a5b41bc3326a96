"""Curves between two trainings: closed forms, one step in NumPy, and going on."""

import keras
import numpy as np
import pytest

from tests.helpers import analyzed
from training import analysis
from training.analysis import mode_connectivity as module
from training.analysis.training_batches import Epoch
from training.batch_statistics import update_batch_statistics

DATA = analyzed.images(count=20, shape=(4, 4, 2))
SMALL = {"batch_size": 10, "points": 3, "weight_decay": 0.02, "num_images": 20}


def linear(seed):
    keras.utils.set_random_seed(seed)
    return analyzed.chain((4, 4, 2))


def normalized_network(seed, filters=3):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(filters, 3, name="conv")(inputs)
    x = keras.layers.Flatten()(keras.layers.BatchNormalization(name="norm")(x))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x), name="small")


def test_a_curve_has_its_ends_and_its_middle():
    a, b, c = ([np.array([v, -v])] for v in (1.0, 5.0, 2.0))
    for t, wanted in ((0, 1), (1, 2), (0.5, 0.25 + 2.5 + 0.5)):
        np.testing.assert_allclose(module.bezier(t, a, b, c)[0], [wanted, -wanted])
    # By the middle of the ends it is the line.
    np.testing.assert_allclose(
        module.bezier(0.3, a, [np.array([1.5, 1.5])], c)[0][0], 1.3
    )


def test_measures_of_a_path_are_those_of_their_definitions():
    assert module.mode_connectivity([2.0, 1.0, 2.0]) == 1.0  # Lower between.
    assert module.mode_connectivity([2.0, 2.0, 2.0]) == 0.0
    assert module.mode_connectivity([1.0, 7.0, 1.5, 3.0]) == -5.0
    assert module.barrier([0.0, 4.0, 0.0, 0.0], [0, 0.25, 0.5, 1]) == 4.0
    assert module.barrier([4.0, 3.0, 0.0], [0, 0.25, 1]) == 0.0


def test_two_equal_networks_are_connected():
    model = normalized_network(0)
    found = analysis.connectivity(model, model, DATA, epochs=0, **SMALL)
    assert found.values("mode_connectivity", path="line") == [0.0]
    np.testing.assert_allclose(np.ptp(found.arrays["line/loss"]), 0, atol=1e-6)
    for value in found.values("barrier"):
        assert abs(value) < 1e-6
    assert not [name for name in found.arrays if name.startswith("curve")]


def test_statistics_at_the_middle_are_those_of_its_weights():
    first, second = normalized_network(0), normalized_network(1)
    found = analysis.connectivity(first, second, DATA, epochs=0, **SMALL)
    middle = normalized_network(2)
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    middle.set_weights([(a + b) / 2 for a, b in pairs])
    update_batch_statistics(middle, DATA.images.astype("float32"))
    logits = np.asarray(middle(DATA.images.astype("float32")), "float64")
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = -logs[np.arange(20), DATA.labels].mean()
    np.testing.assert_allclose(found.arrays["line/nll"][1], wanted, rtol=1e-4)


def test_a_step_is_gradient_descent_of_the_bend():
    models, rate = [linear(0), linear(1)], 0.3
    folder = {}

    class Kept:
        def __init__(self, *_, **identity):
            assert identity["momentum"] == 0.9

        def __call__(self, name, make, *args):
            folder[name] = make(*args)
            return folder[name]

        def has(self, name):
            return False

        def drop(self, name):
            """Keeps it."""

    one = analyzed.images(count=10, shape=(4, 4, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Kept", Kept)
        given = {**SMALL, "num_images": 10}
        analysis.connectivity(*models, one, epochs=1, learning_rate=rate, **given)
    t = np.random.default_rng((0, 0)).uniform(size=1)[0]
    ends = [[np.asarray(w, "float64") for w in m.trainable_variables] for m in models]
    bend = [(a + c) / 2 for a, c in zip(*ends, strict=True)]
    kernel, bias = module.bezier(t, ends[0], bend, ends[1])
    ((images, targets),) = Epoch(one, 10)
    x = images.reshape(10, -1).astype("float64") / 64
    logits = x @ kernel + bias
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    errors = probs / probs.sum(axis=1, keepdims=True) - targets
    slopes = [x.T @ errors / 10 + 0.02 * kernel, errors.mean(axis=0) + 0.02 * bias]
    for place, (start, slope) in enumerate(zip(bend, slopes, strict=True)):
        wanted = start - rate * 2 * t * (1 - t) * slope
        found = folder["epoch_0000"].arrays[f"bend_{place:05d}"]
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_curve_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    models = normalized_network(0), normalized_network(1)
    given = {**SMALL, "epochs": 2, "learning_rate": 0.05, "augmentations": "flip"}
    whole = analysis.connectivity(*models, DATA, **given)
    train, calls = module._Curve.train, []

    def broken(self, images, rate, seed, epoch, progress):
        calls.append(epoch)
        if len(calls) == 2:
            raise FloatingPointError("The loss of the curve is not finite")
        return train(self, images, rate, seed, epoch, progress)

    monkeypatch.setattr(module._Curve, "train", broken)
    with pytest.raises(FloatingPointError):
        analysis.connectivity(*models, DATA, folder=tmp_path, **given)
    found = analysis.connectivity(*models, DATA, folder=tmp_path, **given)
    assert calls == [0, 1, 1]
    for name, values in whole.arrays.items():
        np.testing.assert_allclose(found.arrays[name], values, rtol=1e-5, err_msg=name)
    line, curve = (whole.arrays[f"{path}/loss"] for path in ("line", "curve"))
    np.testing.assert_allclose(line[[0, -1]], curve[[0, -1]], rtol=1e-6)
    assert abs(line[1] - curve[1]) > 1e-4
    assert [p.stem for p in tmp_path.glob("epoch*")] == ["epoch_0001"]


@pytest.mark.parametrize(
    "second, changes, message",
    [
        (normalized_network(0, filters=4), {}, r"'small' has 'conv/kernel' of shape"),
        (linear(0), {}, "have others"),
        (normalized_network(1), {"points": 2}, "points=2"),
        (normalized_network(1), {"epochs": -1}, "epochs=-1"),
        (normalized_network(1), {"momentum": 1.0}, "momentum=1.0"),
        (normalized_network(1), {"learning_rate": 0.0}, "learning_rate=0.0"),
        (normalized_network(1), {"batch_size": 21}, "batch_size=21"),
        (normalized_network(1), {"num_images": 4}, "num_images=4"),
    ],
)
def test_says_what_is_wrong(second, changes, message):
    given = {**SMALL, "epochs": 0, **changes}
    with pytest.raises(ValueError, match=message):
        analysis.connectivity(normalized_network(0), second, DATA, **given)


def test_a_loss_that_is_not_finite_says_where():
    model = linear(0)
    model.set_weights([w * np.nan for w in model.get_weights()])
    with pytest.raises(FloatingPointError, match="curve in epoch 1, step 1"):
        analysis.connectivity(linear(1), model, DATA, epochs=1, **SMALL)
