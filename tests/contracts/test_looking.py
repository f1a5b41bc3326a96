"""Looking at a model does not change it: only training moves weights."""

import keras
import numpy as np
import pytest

import layers
from tests.helpers.data_sets import Data
from training.data import fingerprint
from training.evaluation import evaluate, external_models
from zoo.posterior import DeepEnsemble, MonteCarlo, Temperature
from zoo.presets import model_config, weight_file
from zoo.publishing import publish

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1)).astype("uint8")
LABELS = np.array([0, 1, 2, 0, 1, 2])


def network():
    """What Keras puts into training mode when nobody says in which mode it is.

    Behind a Resizing, `model(images)` normalizes by the statistics of the batch, and
    moves those of the model.
    """
    images = keras.Input((8, 8, 1))
    x = keras.layers.Resizing(6, 6)(keras.layers.Rescaling(1 / 255)(images))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    x = layers.MCDropout(0.5, name="mcdo")(x)
    return keras.Model(images, keras.layers.Dense(3, name="head")(x), name="theirs")


def loaded_from(model, folder):
    model.save(folder / "theirs.keras")
    return external_models.load(str(folder / "theirs.keras"), 2)


def exported(kind):
    def call(model, folder):
        from training import export

        function = {"saved_model": export.export_saved_model}.get(kind)
        (function or export.export_tflite)(model, folder / "exported", 2)

    return call


# What is called with a model, and a folder to write to.
CALLS = {
    "MonteCarlo": lambda model, _: MonteCarlo(model, 2)(IMAGES),
    "sample_until": lambda model, _: MonteCarlo(model, 4).sample_until(
        IMAGES, 0.1, step=2
    ),
    "DeepEnsemble": lambda model, _: DeepEnsemble([model, model])(IMAGES, seed=1),
    "Temperature": lambda model, _: Temperature(model)(IMAGES),
    "evaluate": lambda model, _: evaluate.evaluate(model, Data(), (1, 2)),
    "predict": lambda model, _: evaluate.predict(MonteCarlo(model, 2), IMAGES, (1, 2)),
    "external": loaded_from,
    "fingerprint": lambda model, _: fingerprint.of_posterior(MonteCarlo(model, 2)),
    "save_weights": lambda model, folder: weight_file.save_weights(model, folder / "w"),
    "metadata": lambda model, _: model_config.model_metadata(model),
    "is_stochastic": lambda model, _: layers.is_stochastic(model),
    "saved_model": pytest.param(exported("saved_model"), marks=pytest.mark.slow),
    "tflite": pytest.param(exported("tflite"), marks=pytest.mark.slow),
}


def values(model):
    """All weights but the counters of calls."""
    return {w.path: np.array(w) for w in model.weights if "random_state" not in w.path}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_weights_are_equal_before_and_after(call, tmp_path):
    model = network()
    before = values(model)
    result = call(model, tmp_path)
    after = {"given": values(model)}
    if isinstance(result, MonteCarlo):  # It was read from a file.
        after["read"] = values(result.model)
    for found in after.values():
        assert len(found) == len(before)
        for old, new in zip(before.values(), found.values(), strict=True):
            np.testing.assert_array_equal(old, new)


def softmax():
    images = keras.Input((8, 8, 1))
    x = keras.layers.Dense(3)(keras.layers.Flatten()(images))
    return keras.Model(images, keras.layers.Softmax()(x), name="theirs")


def hidden():
    images = keras.Input((8, 8, 1))
    x = keras.layers.Dense(3)(keras.layers.Flatten()(images))
    x = keras.ops.exp(keras.ops.log_softmax(x / 300))
    return keras.Model(images, x, name="theirs")


def trained(model, _):
    from training import trainer
    from training.recipes.base import Recipe

    trainer.compile_model(model, Recipe(dataset="fashion_mnist", warmup_epochs=0), 100)


def onnx(model, folder):
    from training.export.onnx import export_onnx

    export_onnx(model, folder / "model.onnx")


def openvino(model, folder):
    from training.export.openvino import export_openvino

    export_openvino(model, folder / "network")


def paged(model, folder):
    from training.export.web import export_web

    export_web(model, folder / "page", 2)


def served(model, folder):
    from training.export.serving import export_version

    export_version(model, folder, 2)


DOORS = {
    **{name: CALLS[name] for name in ("evaluate", "predict", "DeepEnsemble")},
    **{name: CALLS[name] for name in ("MonteCarlo", "Temperature", "external")},
    **{name: exported(name) for name in ("saved_model", "tflite")},
    "sample_until": CALLS["sample_until"],
    "adapt": lambda model, _: Temperature(model).adapt(IMAGES, LABELS),
    "publish": lambda model, folder: publish.publish(model, folder / "published", {}),
    "train": trained,
    "onnx": onnx,
    "openvino": openvino,
    "serving": served,
    "web": paged,
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_softmax_at_the_end_is_refused_at_every_door(door, tmp_path):
    with pytest.raises(
        ValueError, match="returns? prob|returns must be logits"
    ) as caught:
        door(softmax(), tmp_path)
    assert "theirs" in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"theirs.keras", ".lock"}


SEEING = set(DOORS) - {"publish", "train"}  # The others run nothing.


@pytest.mark.parametrize("name", sorted(SEEING))
def test_probabilities_that_only_numbers_show_are_refused_too(name, tmp_path):
    with pytest.raises(ValueError, match="theirs' returns"):
        DOORS[name](hidden(), tmp_path)
