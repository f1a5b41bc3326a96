"""Losses on lines and planes against networks that are moved by hand."""

import keras
import numpy as np
import pytest

from tests.helpers import analyzed
from training import analysis
from training.analysis import directions
from training.batch_statistics import update_batch_statistics
from training.data.image_data import ImageData, Numbers

DATA = analyzed.images(count=20, shape=(4, 4, 2))
SMALL = {"batch_size": 10, "points": 3, "weight_decay": 0.02}


def normalized_network(rate=0.0):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 3, name="conv")(keras.layers.Rescaling(1 / 99)(inputs))
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(rate)(keras.layers.Flatten()(x), training=rate > 0)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x), name="small")


def judged(model):
    """Returns NLL, L2 and error of a network, in NumPy."""
    order = np.random.default_rng((0, 0)).permutation(20)
    images, labels = DATA.images[order].astype("float32"), DATA.labels[order]
    logits = np.asarray(model(images), "float64")
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    nll = -logs[np.arange(20), labels].mean()
    squares = sum(np.sum(np.square(w)) for w in model.trainable_variables)
    return nll + 0.01 * squares, nll, np.mean(logits.argmax(axis=1) != labels)


def moved(model, *steps):
    """Returns a copy that is moved along the first directions."""
    axes = [directions.filter_normalized(model, 0, i) for i in range(len(steps))]
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for place, variable in enumerate(copy.trainable_variables):
        change = sum(t * axis[place] for t, axis in zip(steps, axes, strict=True))
        variable.assign(variable + change)
    return copy


def test_directions_have_the_lengths_of_filters():
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.Conv2DTranspose(5, 3, name="transpose")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(x))
    found = dict(
        zip(
            [variable.path for variable in model.trainable_variables],
            directions.filter_normalized(model, 1, 0),
            strict=True,
        )
    )
    inside = {"conv": (0, 1, 2), "depthwise": (0, 1), "transpose": (0, 1, 3), "head": 0}
    for name, axes in inside.items():
        layer = model.get_layer(name)
        lengths = [
            np.sqrt(np.sum(np.square(x), axis=axes))
            for x in (found.pop(f"{name}/kernel"), layer.kernel)
        ]
        np.testing.assert_allclose(*lengths, rtol=1e-5)
    assert len(found) == 6
    assert not any(x.any() for x in found.values())
    first, second = (directions.filter_normalized(model, 1, i)[0] for i in (0, 1))
    assert np.abs(first - second).max() > 0.01


def test_points_are_those_of_networks_that_are_moved_by_hand(tmp_path):
    model = normalized_network()
    before = model.get_weights()
    found = analysis.landscape(model, DATA, extent=0.5, folder=tmp_path, **SMALL)
    names = "loss", "nll", "error"
    assert {found.arrays[name].shape for name in names} == {(3, 3)}
    for i, y in enumerate((-0.5, 0.0, 0.5)):
        for j, x in enumerate((-0.5, 0.0, 0.5)):
            wanted = judged(moved(model, x, y))
            values = [found.arrays[name][i, j] for name in names]
            np.testing.assert_allclose(values, wanted, rtol=2e-5)
    assert found.values("nll", x=0.5, y=-0.5) == [found.arrays["nll"][0, 2]]
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    line = analysis.landscape(model, DATA, extent=0.5, dimensions=1, **SMALL)
    np.testing.assert_allclose(line.arrays["loss"], found.arrays["loss"][1], rtol=1e-6)
    assert len(list(tmp_path.glob("line*"))) == 3
    again = analysis.landscape(model, DATA, extent=0.5, folder=tmp_path, **SMALL)
    assert again.rows == found.rows
    with pytest.raises(ValueError, match="another analysis: seed was 0 and is now 1"):
        analysis.landscape(model, DATA, extent=0.5, folder=tmp_path, seed=1, **SMALL)


def test_classes_without_an_image_count_too():
    losses = []
    for classes in (Numbers(2), ("a", "b", "c")):
        data = ImageData("some", DATA.images, DATA.labels % 2, classes)
        found = analysis.landscape(normalized_network(), data, dimensions=1, **SMALL)
        losses.append(found.arrays["loss"])
    np.testing.assert_array_equal(*losses)


def test_statistics_are_recomputed_at_each_point():
    model = normalized_network()
    found = analysis.landscape(
        model, DATA, dimensions=1, batch_statistics="recomputed", **SMALL
    )
    for place, x in enumerate((-1.0, 0.0, 1.0)):
        copy = moved(model, x)
        update_batch_statistics(copy, DATA.images.astype("float32"))
        loss, *_ = judged(copy)
        np.testing.assert_allclose(found.arrays["loss"][place], loss, rtol=1e-4)
    assert {row["batch_statistics"] for row in found.rows} == {"recomputed"}


def test_draws_are_fixed_or_fresh():
    model = analyzed.residual(rate=0.5, shape=(4, 4, 2))
    losses = {}
    for draws in ("fixed", "fresh"):
        given = {"dimensions": 1, "extent": 1e-6, "draws": draws, **SMALL}
        losses[draws] = analysis.landscape(model, DATA, **given).arrays["loss"]
    assert np.ptp(losses["fixed"]) < 1e-4
    assert np.ptp(losses["fresh"]) > 1e-3


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dimensions": 3}, "dimensions=3"),
        ({"draws": "new"}, "draws=new"),
        ({"points": 1}, "points=1"),
        ({"extent": 0.0}, "extent=0.0"),
        ({"batch_statistics": "none"}, "batch_statistics=none"),
        ({"batch_size": 21}, "batch_size=21"),
        ({"num_images": 5}, "5 images, batch_size=10"),
    ],
)
def test_says_what_is_wrong(changes, message):
    with pytest.raises(ValueError, match=message):
        analysis.landscape(analyzed.chain((4, 4, 2)), DATA, **{**SMALL, **changes})


def test_a_loss_that_is_not_finite_says_where():
    model = analyzed.chain((4, 4, 2))
    kernel, bias = model.get_weights()
    model.set_weights([kernel, np.full_like(bias, np.inf)])
    with pytest.raises(FloatingPointError, match="The loss at x=-1 is not finite"):
        analysis.landscape(model, DATA, dimensions=1, **SMALL)
