"""Prediction sets in exports: a mask, its size and what is promised."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.helpers.exports import IMAGES, call, tiny
from training import export
from training.export import formats, parity
from zoo import conformal
from zoo.posterior import Dirichlet, Isotonic, Vector


def sharp():
    model = tiny()
    head = model.get_layer("head").kernel
    head.assign(0.3 * np.random.default_rng(0).normal(size=head.shape))
    return model


def as_numpy(x):
    return keras.ops.convert_to_numpy(x)


def adapted(name, num_classes=4):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, num_classes), scale=1.5)
    labels = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    decision = conformal.named(name)
    decision.adapt(as_numpy(keras.ops.softmax(logits)), labels)
    return decision


def outputs(kind, path):
    if kind == "saved_model":
        return call(path, images=IMAGES)
    return Interpreter(str(path)).get_signature_runner()(images=IMAGES)


KINDS = {"saved_model": export.export_saved_model, "tflite": export.export_tflite}
each = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize(
    "kind, name",
    [
        ("saved_model", "raps_70"),
        ("tflite", "lac_90"),
        ("tflite", "class_aps_80"),
        ("tflite", "selective_60"),
    ],
)
def test_an_export_has_the_sets_of_keras_and_what_they_promise(kind, name, tmp_path):
    model, decision = sharp(), adapted(name)
    report = KINDS[kind](model, tmp_path / "out", decision=decision)
    found = outputs(kind, tmp_path / "out")
    expected = as_numpy(decision(keras.ops.softmax(model(IMAGES))))
    np.testing.assert_array_equal(found["prediction_set"], expected)
    assert found["prediction_set"].dtype == bool
    np.testing.assert_array_equal(found["set_size"], expected.sum(axis=1))
    what, value = decision.promise
    np.testing.assert_allclose(found[what], [value] * len(IMAGES), rtol=1e-6)
    assert report["promise"] == {what: value}
    assert f"{what}={value:g} promised" in formats.describe(report)


@each
def test_what_cannot_be_promised_is_refused(kind, tmp_path):
    write = KINDS[kind]
    with pytest.raises(ValueError, match="call its `adapt`.*decision=lac_90"):
        write(sharp(), tmp_path / "out", decision=conformal.named("lac_90"))
    with pytest.raises(ValueError, match="now this set.*randomized_aps_90"):
        write(sharp(), tmp_path / "out", decision=adapted("randomized_aps_90"))
    if kind == "tflite":
        with pytest.raises(ValueError, match="quantized weights.*=float16"):
            write(
                sharp(),
                tmp_path / "out",
                quantization="float16",
                decision=adapted("lac_90"),
            )
    assert not list(tmp_path.iterdir())


def test_another_mask_is_not_kept():
    decision = adapted("lac_90")
    probs = np.array([[0.7, 0.2, 0.06, 0.04]], "float32")
    said = {k: as_numpy(v) for k, v in decision.summary(probs).items()}
    parity.check_decision(decision, {"probabilities": probs, **said})
    for name, value in said.items():
        changed = (1 - value.astype("float64")).astype(value.dtype)
        other = {"probabilities": probs, **said, name: changed}
        with pytest.raises(ValueError, match=f"decides otherwise.*{name}="):
            parity.check_decision(decision, other)


@pytest.mark.parametrize(
    "kind, scaler",
    [
        ("tflite", Vector),
        ("tflite", Dirichlet),
        ("tflite", Isotonic),
        pytest.param("saved_model", Dirichlet, marks=pytest.mark.slow),
        pytest.param("saved_model", Isotonic, marks=pytest.mark.slow),
    ],
)
def test_scalers_are_exported_as_a_temperature_is(kind, scaler, tmp_path):
    model, rng = sharp(), np.random.default_rng(1)
    images = rng.integers(0, 256, (80, 16, 16, 1)).astype("uint8")
    posterior = scaler(model)
    posterior.adapt(images, rng.integers(0, 4, 80), batch_size=80)
    KINDS[kind](posterior, tmp_path / "out")
    found = outputs(kind, tmp_path / "out")["probabilities"]
    expected = as_numpy(keras.ops.softmax(posterior(IMAGES, seed=0)[0]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected - as_numpy(keras.ops.softmax(model(IMAGES)))).max() > 0.01
