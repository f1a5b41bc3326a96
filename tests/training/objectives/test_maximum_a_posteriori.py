"""The log density of weights as an objective, against NumPy."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.trainings import RECIPE, dense_model, stripes
from training import trainer

MAP = {"objective": "map", "weight_decay": 0.0, "augmentations": (), "snapshots": 0}


@pytest.mark.parametrize("name", ["gaussian:scale=0.2", "empcov:scale=0.2"])
def test_a_training_minimizes_the_negative_log_density(name, tmp_path):
    model, data = dense_model(rate=0.0), stripes(16)
    recipe = dataclasses.replace(RECIPE, epochs=2, **MAP, prior=name)
    trained = trainer.compile_model(model, recipe, 16)
    if trained.objective.adapt is not None:
        trained.objective.adapt(data, None)
    logits = np.asarray(model(data.images, training=True), "float64")
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    nll = -logs[np.arange(16), data.labels].mean()
    weights = [np.asarray(v, "float64") for v in model.trainable_variables]
    precision = {id(w): 25 * np.eye(len(w)) for w in weights}
    if name.startswith("empcov"):
        kernel = next(w for w in weights if w.ndim == 2)
        inputs = (data.images / 64 - 2).reshape(16, -1)  # Normalization is the layer.
        norm = model.get_layer("norm")
        inputs = inputs / np.sqrt(1 + norm.epsilon)  # As in prediction.
        inverse = np.linalg.inv(np.cov(inputs.T) + 1e-4 * np.eye(144)) / 0.2**2
        precision[id(kernel)] = inverse + 25 * np.eye(144)
    size = sum(w.size for w in weights)
    quadratic = sum(
        0.5 * np.trace(np.atleast_2d(w.T @ precision[id(w)] @ w)) for w in weights
    )
    expected = nll + (quadratic + 0.5 * size * np.log(2 * np.pi)) / 16
    logs = trained.train_on_batch(data.images, data.labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-4)
    if name.startswith("gaussian"):
        return
    # The trainer gives it the images, and again where it goes on.
    settings = {"data": data, "workdir": tmp_path}
    rows = trainer.train(dense_model(rate=0.0), recipe, **settings)
    assert [np.isfinite(row["loss"]) for row in rows] == [True, True]
    again = trainer.train(dense_model(rate=0.0), recipe, **settings)
    assert [row["loss"] for row in again] == [row["loss"] for row in rows]


def test_two_penalties_of_the_weights_are_refused():
    recipe = dataclasses.replace(RECIPE, **MAP)
    recipe = dataclasses.replace(recipe, weight_decay=1e-4)
    with pytest.raises(ValueError, match="set weight_decay=0.*weight_decay=0.0001"):
        trainer.compile_model(dense_model(), recipe, 16)
