import json
import math
import os
import pathlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import compiled_metrics, processes
from training import metrics
from training.metrics.keras_metrics import METRICS, Classification

ROOT = pathlib.Path(__file__).parents[3]


def make(name, **options):
    return Classification(name, num_classes=6, **options)


@pytest.fixture(scope="module")
def predictions():
    """Logits, of which many round to certainty, and labels."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(700, 6)) * rng.uniform(0.2, 9, size=(700, 1))
    noise = rng.gumbel(size=logits.shape)
    return logits.astype("float32"), (0.6 * logits + noise).argmax(axis=1)


def softmax(logits):
    return np.asarray(keras.ops.softmax(logits))


def batches(*arrays):
    """Batches of sizes that differ, so that means of batch means would be wrong."""
    borders = [0, 1, 3, 40, 168, 424, 690, 700]
    for start, stop in zip(borders, borders[1:], strict=False):
        yield [array[start:stop] for array in arrays]


def close(value, expected):
    return float(value) == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
def test_batches_agree_with_the_function_of_all_examples(predictions, name):
    logits, labels = predictions
    of_probs, of_logits = make(name), make(name, from_logits=True)
    for part, part_labels in batches(logits, labels):
        of_logits.update_state(part_labels, part)
        of_probs.update_state(part_labels[:, None], softmax(part))
    expected = getattr(metrics, name)(softmax(logits), labels)
    assert abs(expected) > 0.005
    assert close(of_probs.result(), expected)
    assert close(of_logits.result(), expected)
    of_probs.reset_state()
    assert math.isnan(of_probs.result())


@pytest.mark.parametrize("num_bins", [1, 10, 15, 100])
def test_bins_agree_where_every_confidence_lies_on_an_edge(num_bins):
    edges = (np.arange(num_bins + 1) / num_bins).astype("float32")
    around = [np.nextafter(edges, d, dtype="float32") for d in (0, 1)]
    confidence = np.concatenate([edges, *around])
    probs = np.stack([1 - confidence, confidence], axis=1)
    labels = np.arange(len(probs)) % 2
    for name in ("ece", "rms_calibration_error", "class_wise_ece"):
        metric = Classification(name, num_classes=2, num_bins=num_bins)
        metric.update_state(labels, probs)
        expected = getattr(metrics, name)(probs, labels, num_bins=num_bins)
        assert close(metric.result(), expected)


def test_a_confidence_of_exactly_90_percent_is_not_certain():
    metric = Classification("freq_90")
    metric.update_state([0, 0], np.array([[0.9, 0.1], [0.91, 0.09]], "float32"))
    assert metric.result() == 0.5


@pytest.mark.parametrize("name", METRICS)
def test_weights_count_as_repetitions(predictions, name):
    logits, labels = predictions
    probs = softmax(logits)
    weights = np.random.default_rng(0).integers(0, 4, size=len(labels))
    metric = make(name)
    # What has no weight may be anything, such as padding.
    padding = weights == 0
    padded = np.where(padding[:, None], np.nan, probs), np.where(padding, -1, labels)
    for part, part_labels, part_weights in batches(*padded, weights):
        metric.update_state(part_labels, part, sample_weight=part_weights)
    function = getattr(metrics, name)
    repeated = function(np.repeat(probs, weights, axis=0), np.repeat(labels, weights))
    assert repeated != pytest.approx(function(probs, labels), abs=1e-4)
    assert close(metric.result(), repeated)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_small_batches_count_after_many_examples(predictions, jit_compile):
    logits, labels = predictions[0][:4], predictions[1][:4]
    metric = make("nll", from_logits=True)
    metric.update_state(labels[:1], logits[:1], sample_weight=[2.0**26])
    update = tf.function(metric.update_state, jit_compile=jit_compile)
    for _ in range(200):
        update(labels[1:], logits[1:], sample_weight=tf.constant([1.0, 2.0, 4.0]) / 8)
    total = (metric._total - metric._excess).numpy()
    # float32 holds no more than the multiples of 8 here, so each batch alone is lost.
    assert total[0, 0] == 2.0**26 + 176  # 175
    losses = -np.log(softmax(logits)[np.arange(4), labels].astype("float64"))
    expected = 2.0**26 * losses[0] + 200 * losses[1:] @ [1, 2, 4] / 8
    assert float(total[0, 1]) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    "name, count",
    [("nll", 50_000), ("brier", 50_000), ("ece", 50_000), ("brier_covariance", 10_000)],
)
def test_sums_over_a_large_batch_do_not_round_at_each_example(name, count):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(count, 6)) * rng.uniform(0.2, 9, size=(count, 1))
    probs, labels = softmax(logits.astype("float32")), rng.integers(0, 6, count)
    metric = make(name)
    metric.update_state(labels, probs)
    assert close(metric.result(), getattr(metrics, name)(probs, labels))


def test_memory_does_not_grow(predictions):
    for name in compiled_metrics.KINDS:
        metric = make(name)
        shapes = [v.shape for v in metric.variables]
        assert len(shapes) == 2
        for logits, labels in batches(*predictions):
            metric.update_state(labels, softmax(logits))
        assert [v.shape for v in metric.variables] == shapes


@pytest.mark.parametrize(
    "backend, kind, names",
    [
        ("tensorflow", "mirrored", compiled_metrics.KINDS),
        pytest.param("tensorflow", "mirrored", METRICS, marks=pytest.mark.slow),
        pytest.param("tensorflow", "one", METRICS, marks=pytest.mark.slow),
        pytest.param("jax", "one", METRICS, marks=pytest.mark.slow),
    ],
)
def test_fit_and_evaluate_agree_with_the_functions(backend, kind, names):
    command = [sys.executable, "-m", "tests.helpers.compiled_metrics", kind, *names]
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    output = processes.run(command, cwd=ROOT, env=environment)
    assert output.returncode == 0, output.stderr
    found = json.loads(output.stdout.splitlines()[-1])
    for name in names:
        expected = found["expected"][name]
        assert not math.isnan(expected)
        assert close(found["fit"][name], expected), name
        assert close(found["evaluate"][name], expected), name


@pytest.fixture
def mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.usefixtures("mixed_precision")
def test_mixed_precision_sums_in_single_precision():
    images, labels = compiled_metrics.data()
    model = compiled_metrics.compiled(learning_rate=0.1)
    found = model.evaluate(images, labels, 64, verbose=0, return_dict=True)
    assert model(images[:1]).dtype == "float16"
    expected = compiled_metrics.functions(model, images, labels)
    for name, value in expected.items():
        assert close(found[name], value), name


def test_a_saved_model_keeps_its_metrics(tmp_path):
    images, labels = compiled_metrics.data()
    model = compiled_metrics.compiled(learning_rate=0.1)
    model.fit(images, labels, batch_size=64, verbose=0)
    before = model.evaluate(images, labels, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    after = restored.evaluate(images, labels, verbose=0, return_dict=True)
    assert after == pytest.approx(before)


def test_the_config_names_every_argument():
    metric = Classification("top_k", 7, True, 9, k=3, name="top_3")
    config = json.loads(json.dumps(metric.get_config()))
    restored = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert type(restored) is Classification
    assert restored.get_config() == metric.get_config()
    expected = {"metric": "top_k", "num_classes": 7, "from_logits": True, "k": 3}
    assert config == {**expected, "num_bins": 9, "name": "top_3", "dtype": "float32"}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    "label, row",
    [
        (-1, np.eye(6)[0]),
        (6, np.eye(6)[0]),
        (0, np.full(6, np.nan)),
        (0, np.arange(6.0)),
        (0, np.array([1.5, -0.5, 0, 0, 0, 0])),
    ],
)
def test_a_result_that_would_be_wrong_is_nan(name, label, row):
    metric = make(name)
    metric.update_state([0, 1], np.eye(6)[[0, 2]])
    metric.update_state([label], row[None])
    metric.update_state([0, 1], np.eye(6)[[0, 2]])
    assert math.isnan(metric.result())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"metric": "eece"}, "Known: accuracy, top_k.*metric=eece"),
        ({"metric": "iou"}, "number.*metric=iou, num_classes=None"),
        ({"metric": "brier_resolution"}, "number.*metric=brier_resolution"),
        ({"metric": "ece", "num_bins": 0}, "positive.*num_bins=0"),
        ({"metric": "iou", "num_classes": -1}, "positive.*num_classes=-1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Classification(**options)


@pytest.mark.parametrize(
    "metric, labels, probs, message",
    [
        (Classification("ece"), np.eye(3), np.eye(3), r"y_true.shape=\(3, 3\)"),
        (Classification("ece"), [0], np.eye(3)[None], r"y_pred.shape=\(1, 3, 3\)"),
        (Classification("iou", 4), [0, 1, 2], np.eye(3), "3 classes.*num_classes=4"),
        (Classification("top_k", k=4), [0, 1, 2], np.eye(3), "3 classes.*k=4"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(metric, labels, probs, message):
    with pytest.raises(ValueError, match=message):
        metric.update_state(labels, probs)
