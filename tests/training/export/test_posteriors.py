"""Ensembles and scaled posteriors are exported as models are."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.helpers import marks
from tests.helpers.exports import IMAGES, call, calls, dropout_model, invoke, softmax
from tests.helpers.exports import tiny as network
from tests.helpers.networks import MemberBias
from training import export
from training.export import onnx, parity
from zoo.posterior import (
    SWAG,
    DeepEnsemble,
    Density,
    Laplace,
    Mixture,
    MonteCarlo,
    Posterior,
    Temperature,
)


def tiny(scale=1.0):
    model = network()
    head = model.get_layer("head").kernel
    head.assign(scale * np.random.default_rng(int(100 * scale)).normal(size=head.shape))
    return model


def logits(model):
    return keras.ops.convert_to_numpy(model(IMAGES)).astype("float64")


def exported(kind, posterior, path):
    if kind == "saved_model":
        export.export_saved_model(posterior, path)
        return call(path, images=IMAGES)["probabilities"]
    if kind == "tflite":
        export.export_tflite(posterior, path)
        return invoke(path, images=IMAGES)
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx.export_onnx(posterior, path)
    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {"images": IMAGES})[0]


KINDS = pytest.mark.parametrize(
    "kind", marks.few(["saved_model", "tflite", "onnx"], ["saved_model"])
)


@KINDS
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_export_of_an_ensemble_gives_the_mean_of_its_members(kind, tmp_path):
    members = [tiny(0.1), tiny(0.3)]
    found = exported(kind, DeepEnsemble(members), tmp_path / "out")
    expected = np.mean([softmax(logits(member)) for member in members], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    single = softmax(logits(members[0]))
    assert np.abs(expected - single).max() > 0.01  # And of no single one.


@KINDS
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_export_with_a_temperature_divides_the_logits(kind, tmp_path):
    model = tiny(0.1)
    found = exported(kind, Temperature(model, 2.5), tmp_path / "out")
    expected = softmax(logits(model) / 2.5)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected - softmax(logits(model))).max() > 0.01


def laplace(*settings):
    posterior = Laplace(tiny(0.3), *settings, prior_precision=0.01)
    labels = np.arange(len(IMAGES)) % posterior.num_classes
    posterior.adapt(np.resize(IMAGES, (40, *IMAGES.shape[1:])), np.resize(labels, 40))
    return posterior


@pytest.mark.parametrize("kind", ["saved_model", "tflite"])
def test_an_export_of_laplace_has_the_variance_in_closed_form(kind, tmp_path):
    posterior = laplace()
    found = exported(kind, posterior, tmp_path / "out")
    mean, variance = logits(posterior.model), posterior.logit_variance(IMAGES)
    expected = softmax(mean / np.sqrt(1 + np.pi / 8 * variance))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected - softmax(mean)).max() > 0.01


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_device_does_not_linearize_a_network(kind, tmp_path):
    inner = Mixture([tiny(0.3)], prior_precision=1.0, subset="all")
    values = {k: np.zeros(v.shape) for k, v in inner.members[0].values().items()}
    Posterior.assign(inner.members[0], values)
    for posterior in (inner, Temperature(inner, 2.0)):
        with pytest.raises(ValueError, match="gradients.*saved_model.*last_layer"):
            exported(kind, posterior, tmp_path / "out")


@pytest.mark.slow
def test_a_server_linearizes_a_network(tmp_path):
    posterior = Mixture([tiny(0.3)], prior_precision=1.0, subset="all")
    labels = np.arange(len(IMAGES)) % posterior.num_classes
    posterior.adapt(np.resize(IMAGES, (40, *IMAGES.shape[1:])), np.resize(labels, 40))
    found = exported("saved_model", posterior, tmp_path / "out")
    samples = softmax(keras.ops.convert_to_numpy(posterior(IMAGES)))
    np.testing.assert_allclose(found, samples[0], atol=1e-5)
    assert np.abs(found - softmax(logits(posterior.members[0].model))).max() > 0.01


def test_draws_of_laplace_on_a_device_are_those_of_the_seed(tmp_path):
    for number, structure in enumerate(("kronecker", "full")):
        posterior = laplace(structure, "monte_carlo")
        export.export_tflite(posterior, tmp_path / f"{number}")
        found = invoke(tmp_path / f"{number}", images=IMAGES, seed=np.int32(7))
        samples = softmax(keras.ops.convert_to_numpy(posterior(IMAGES, seed=7)))
        np.testing.assert_allclose(found, samples.mean(axis=0), atol=1e-5)


def density(*scores):
    posterior = Density(tiny(0.3), scores) if scores else Density(tiny(0.3))
    images = np.random.default_rng(1).integers(0, 256, (80, *IMAGES.shape[1:]))
    posterior.adapt(images, np.arange(80) % 4)
    return posterior


def test_an_export_of_a_density_gives_its_scores(tmp_path):
    posterior = density()
    logits, scores = posterior.scored(IMAGES)
    probs = softmax(keras.ops.convert_to_numpy(logits)[0])
    export.export_saved_model(posterior, tmp_path / "saved")
    export.export_tflite(posterior, tmp_path / "lite", input_dtype="uint8")
    run = Interpreter(str(tmp_path / "lite")).get_signature_runner()
    pixels = IMAGES.astype("uint8")
    for found in (
        call(tmp_path / "saved", images=IMAGES),
        call(tmp_path / "saved", "serve_uint8", images=pixels),
        run(images=pixels),
    ):
        np.testing.assert_allclose(found["probabilities"], probs, atol=1e-5)
        for name in posterior.score_names:
            np.testing.assert_allclose(found[name], scores[name], 1e-3, 1e-3)
    assert calls(tmp_path / "lite")["CONV_2D"] == 1  # One pass gives all.


def test_scores_are_exported_where_they_stay_what_they_are(tmp_path, monkeypatch):
    posterior = density("mahalanobis")
    with pytest.raises(ValueError, match="float16 rounds them.*model=density"):
        export.export_tflite(posterior, tmp_path / "it", quantization="float16")
    monkeypatch.setattr(parity, "SCORE_TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="another score.*mahalanobis=.*place of"):
        export.export_tflite(posterior, tmp_path / "it")
    assert not (tmp_path / "it").exists()


def test_an_export_of_swag_has_a_network_for_each_draw(tmp_path):
    posterior = SWAG.from_models([tiny(0.1), tiny(0.3), tiny(0.2)], 2, rank=2)
    posterior.adapt(IMAGES, np.arange(5) % 4)
    samples = softmax(keras.ops.convert_to_numpy(posterior(IMAGES)))
    assert np.abs(samples[0] - samples[1]).max() > 1e-3
    found = exported("tflite", posterior, tmp_path / "out")
    np.testing.assert_allclose(found, samples.mean(axis=0), atol=1e-5)


def test_a_device_divides_once_and_has_no_other_operator_for_a_temperature(tmp_path):
    for name, posterior in (("a", tiny()), ("b", Temperature(tiny(), 2.5))):
        export.export_tflite(posterior, tmp_path / name)
    more = calls(tmp_path / "b") - calls(tmp_path / "a")
    assert sum(more.values()) <= 1


def test_stochastic_posteriors_take_a_seed_and_know_their_samples(tmp_path):
    members = [tiny(1.0), MonteCarlo(dropout_model(), 3)]
    posterior = Temperature(DeepEnsemble(members), 2.0)
    samples = DeepEnsemble(members)
    for number, of in enumerate((posterior, samples)):
        expected = keras.ops.convert_to_numpy(of(IMAGES, seed=7))
        expected = softmax(expected)
        path = tmp_path / f"saved{number}"
        export.export_saved_model(of, path)
        scalars = {"seed": np.int32(7), "num_samples": np.int32(of.num_samples)}
        found = call(path, "sample", images=IMAGES, **scalars)
        np.testing.assert_allclose(found["samples"], expected, atol=1e-5)
        scalars["num_samples"] += 1
        with pytest.raises(Exception, match=f"at most be.*{of.num_samples}"):
            call(path, "sample", images=IMAGES, **scalars)
    scalars["num_samples"] = np.int32(2)
    found = call(path, "sample", images=IMAGES, **scalars)
    np.testing.assert_allclose(found["samples"], expected[:2], atol=1e-5)
    export.export_tflite(posterior, tmp_path / "lite")
    found = invoke(tmp_path / "lite", images=IMAGES, seed=np.int32(7))
    expected = softmax(keras.ops.convert_to_numpy(posterior(IMAGES, seed=7)))
    np.testing.assert_allclose(found, expected[0], atol=1e-5)


def test_an_implicit_ensemble_is_exported_with_a_sample_for_each_member(tmp_path):
    model = network(MemberBias(3, name="members"))
    bias = model.get_layer("members").bias
    expected = []
    for member in range(3):
        values = np.arange(24).reshape(3, 8)[member] / 8
        bias.assign(np.broadcast_to(values, bias.shape))
        expected.append(softmax(logits(model)))
    bias.assign(np.arange(24).reshape(3, 8) / 8)
    assert np.ptp(expected, axis=0).max() > 0.01
    export.export_saved_model(model, tmp_path / "saved", 3)
    scalars = {"seed": np.int32(7), "num_samples": np.int32(3)}
    found = call(tmp_path / "saved", "sample", images=IMAGES, **scalars)["samples"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    export.export_tflite(model, tmp_path / "lite", 3)
    found = invoke(tmp_path / "lite", images=IMAGES, seed=np.int32(7))
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-5)


def test_a_posterior_that_has_learned_nothing_is_refused(tmp_path):
    posterior = Temperature(tiny())
    for function in (export.export_saved_model, export.export_tflite):
        with pytest.raises(ValueError, match="call its `adapt`"):
            function(posterior, tmp_path / "out")
    posterior.assign({"temperature": 2.0})
    export.export_tflite(posterior, tmp_path / "out")
