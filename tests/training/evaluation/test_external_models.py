"""Models that are not of the zoo, in the two formats that Keras writes."""

import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.helpers import marks
from tests.helpers.data_sets import Data
from tests.helpers.networks import mc_network, network
from training.data import fingerprint
from training.evaluation import evaluate, external_models, models, predictions
from training.evaluation.sampling import Passes


def foreign(scale=255.0, shift=0.0, outputs="probs", dropout=None):
    """A model of somebody else: images in a range of their own, maybe to a softmax."""
    images = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(scale, shift)(images)
    x = x if dropout is None else dropout(x)
    logits = network()(x)
    outputs = keras.layers.Softmax()(logits) if outputs == "probs" else logits
    return keras.Model(images, outputs)


def values(model):
    return {
        (row["num_samples"], row["metric"]): row["value"]
        for row in evaluate.evaluate(model, Data(), (1, 3), progress=False)
    }


@pytest.fixture(scope="module")
def expected():
    """The values of the model of the zoo."""
    return values(network())


RANGES = [(255.0, 0.0, (0, 1)), (127.5, 127.5, (-1, 1)), (1.0, 0.0, (0, 255))]
CASES = [
    (kind, outputs, *numbers)
    for kind in ("keras", "saved_model")
    for outputs in ("logits", "probs")
    for numbers in RANGES
]


@pytest.mark.parametrize(
    "kind, outputs, scale, shift, input_range", marks.few(CASES, CASES[1:12:2])
)
def test_it_is_evaluated_as_the_same_model_of_the_zoo(
    expected, tmp_path, kind, outputs, scale, shift, input_range
):
    model, path = foreign(scale, shift, outputs), tmp_path / f"theirs.{kind}"
    if kind == "keras":
        model.save(path)
    else:
        tf.saved_model.save(
            model,
            path,
            signatures=tf.function(
                lambda pixels: {"answer": model(pixels, training=False)},
                [tf.TensorSpec((None, 8, 8, 1), tf.float32)],
            ).get_concrete_function(),
        )
    loaded = external_models.load(str(path), 3, outputs, input_range)
    assert loaded.name == ("theirs" if kind == "keras" else "theirs.saved_model")
    assert loaded.repeats_itself
    found = values(loaded)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-4, nan_ok=True), key
    assert external_models.is_external(str(path))


def test_a_stochastic_one_runs_as_often_as_it_is_asked(tmp_path):
    foreign(dropout=layers.MCDropout(0.5)).save(tmp_path / "random.keras")
    loaded = external_models.load(str(tmp_path / "random.keras"), 3, "probs", (0, 1))
    assert not loaded.repeats_itself
    found = values(loaded)
    assert found[1, "nll"] != found[3, "nll"]


def test_a_file_is_what_its_passes_by_name_are(tmp_path):
    mc_network().save(tmp_path / "random.keras")
    path = str(tmp_path / "random.keras")
    loaded = models.load([path, f"{path}@mc"], num_samples=3)
    plain, named = loaded.values()
    images = np.full((2, *plain.image_shape), 7.0, "float32")
    assert np.array_equal(plain(images, seed=1), named(images, seed=1))


def test_the_served_model_of_the_zoo_is_evaluated(tmp_path):
    from training.export import export_saved_model

    export_saved_model(mc_network(name="served"), tmp_path / "served", 2)
    loaded = external_models.load(str(tmp_path / "served"), 3, "probs")
    assert not loaded.repeats_itself
    assert len(values(loaded)) > 2
    # Its name says what its output is.
    export_saved_model(network(), tmp_path / "probabilities")
    network().export(tmp_path / "logits", verbose=False)
    found = [
        values(external_models.load(str(tmp_path / name)))
        for name in ("probabilities", "logits")
    ]
    assert found[0][1, "nll"] == pytest.approx(found[1][1, "nll"], abs=1e-4)


@pytest.mark.slow
def test_a_worker_knows_the_layer_of_a_saved_model(tmp_path):
    network().export(tmp_path / "model", verbose=False)
    loaded = external_models.load(str(tmp_path / "model"))
    (tmp_path / "sent").write_bytes(pickle.dumps(Passes(loaded, (1,))))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).sizes)"
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "sent"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "(1,)" in found.stdout, found.stderr


def test_another_file_at_the_same_path_has_another_fingerprint(tmp_path):
    prints = []
    for seed in (0, 0, 1):
        inputs = network(seed=seed)
        inputs.export(tmp_path / "model", verbose=False)
        loaded = external_models.load(str(tmp_path / "model"))
        prints.append(fingerprint.of_posterior(loaded))
    assert prints[0] != prints[2]


def test_predictions_of_a_folder_are_stored_and_found_again(tmp_path):
    network().export(tmp_path / "model", verbose=False)
    new = []
    for _ in range(2):
        loaded = external_models.load(str(tmp_path / "model"))
        predictions.store(
            Passes(loaded, (1,)),
            Data(),
            tmp_path / "stored",
            lambda _, is_new: new.append(is_new),
        )
    assert new == [True, False]


@pytest.mark.parametrize(
    "outputs, input_range, message",
    [
        ("logits", (0, 1), "returns probs: .* Received: outputs=logits"),
        ("scores", (0, 1), "one of logits, probs. Received: outputs=scores"),
        ("probs", (1, 0), r"the smaller one first.*input_range=\(1.0, 0.0\)"),
        ("probs", (1,), r"must be two numbers.*input_range=\(1.0,\)"),
    ],
)
def test_what_is_not_as_it_was_said_is_refused(tmp_path, outputs, input_range, message):
    foreign().save(tmp_path / "theirs.keras")
    with pytest.raises(ValueError, match=message):
        external_models.load(str(tmp_path / "theirs.keras"), 1, outputs, input_range)


def test_logits_are_not_taken_for_probabilities(tmp_path):
    network().save(tmp_path / "plain.keras")
    with pytest.raises(ValueError, match="'network' returns logits: .*outputs=probs"):
        external_models.load(str(tmp_path / "plain.keras"), 1, "probs")


def per_pixel(outputs, size=8):
    """A model with logits or probabilities for each of 3 x 3 points."""
    images = keras.Input((size, size, 1))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(3, 3, 2, bias_initializer="ones")(x)
    x = keras.layers.Softmax()(x) if outputs == "probs" else x
    return keras.Model(images, x, name="per_pixel")


@pytest.mark.parametrize("outputs", ["logits", "probs"])
def test_one_with_predictions_for_each_pixel_is_evaluated(tmp_path, outputs):
    model = per_pixel(outputs)
    model.save(tmp_path / "map.keras")
    loaded = external_models.load(str(tmp_path / "map.keras"), outputs=outputs)
    assert loaded.map_shape == (3, 3)
    labels = np.random.default_rng(0).integers(0, 3, (7, 3, 3))
    rows = evaluate.evaluate(loaded, Data(labels=labels), (1,), progress=False)
    (accuracy,) = [row["value"] for row in rows if row["metric"] == "accuracy"]
    answers = model.predict(Data().images.astype("float32"), verbose=0)
    assert accuracy == pytest.approx((answers.argmax(axis=-1) == labels).mean())
    other = {"logits": "probs", "probs": "logits"}[outputs]
    with pytest.raises(ValueError, match=f"returns {outputs}: .*outputs={other}"):
        external_models.load(str(tmp_path / "map.keras"), outputs=other)


def test_models_of_other_shapes_are_refused(tmp_path):
    per_pixel("logits", size=None).save(tmp_path / "any_size.keras")
    with pytest.raises(ValueError, match=r"output_shape=\(None, None, None, 3\)"):
        external_models.load(str(tmp_path / "any_size.keras"))
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.save(tmp_path / "vectors.keras")
    with pytest.raises(ValueError, match=r"input_shape=\(None, 8\)"):
        external_models.load(str(tmp_path / "vectors.keras"))
    tf.saved_model.save(tf.Module(), tmp_path / "empty")
    with pytest.raises(ValueError, match=r"needs a signature serving_default"):
        external_models.load(str(tmp_path / "empty"))
    assert not external_models.is_external("resnet20.fashion_mnist")


@pytest.mark.parametrize("outputs", ["logits", "probs"])
def test_what_is_read_for_an_export_has_the_probabilities_of_the_file(
    tmp_path, outputs
):
    model, images = foreign(outputs=outputs), Data().images
    model.save(tmp_path / "theirs.keras")
    path = str(tmp_path / "theirs.keras")
    found, name = external_models.read(path, outputs, ("0", "1"))
    expected = model(images / 255.0, training=False)
    if outputs == "logits":
        expected = keras.ops.softmax(expected)
    probs = keras.ops.softmax(found(images.astype("float32"), training=False))
    np.testing.assert_allclose(probs, expected, atol=1e-6)
    assert name == "theirs"
