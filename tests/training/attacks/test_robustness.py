"""The smallest change that misleads a network, against that of a linear one."""

import keras
import numpy as np
import pytest

from tests.helpers.trainings import stripes
from training.attacks import robustness

RNG = np.random.default_rng(0)


def test_leads_are_those_over_the_best_other_class():
    logits = RNG.normal(size=(20, 4)).astype("float32")
    labels = RNG.integers(0, 4, 20)
    for row, label, found in zip(
        logits, labels, robustness.leads(logits, labels), strict=True
    ):
        assert float(found) == pytest.approx(row[label] - max(np.delete(row, label)))


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_the_distance_to_the_border_of_a_linear_network(scale, monkeypatch):
    """Its lead over the norm of the difference of the weights of both classes."""
    images = keras.Input((12, 12, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64, -2)(images))
    model = keras.Model(images, keras.layers.Dense(2, name="head")(x))
    head, data = model.get_layer("head"), stripes(21)
    data.images[:] = data.images // 2 + 64  # The attack reaches no end of the range.
    x = data.images.reshape(21, -1) / 64 - 2
    kernel = RNG.normal(0, 0.02, (144, 2)) * scale
    difference = kernel[:, 1] - kernel[:, 0]
    # Half of the images are on each side of the border.
    bias = np.array([np.median(x @ difference) + 0.01 * scale, 0.0])
    head.set_weights([kernel, bias])
    monkeypatch.setattr(robustness, "RADIUS", 20.0)
    # Whatever the labels are.
    norms = np.abs(x @ difference - bias[0]) * 64 / np.linalg.norm(difference)
    found = robustness.robustness(model, data, batch_size=8)
    near = norms < robustness.RADIUS
    np.testing.assert_allclose(found[near], norms[near], rtol=5e-3, atol=0.05)
    assert (found[~near] > robustness.RADIUS).all()
    assert 3 < near.sum() < 21
    assert (np.diff(found[np.argsort(norms)]) > -0.05).all()
