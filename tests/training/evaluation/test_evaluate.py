import io
import json
import math
import random
import re
import sys

import keras
import numpy as np
import pytest

from tests.helpers import marks, processes
from tests.helpers.commands import quick
from tests.helpers.data_sets import LABELS, Data, Slices
from tests.helpers.networks import IMAGES, as_numpy, mc_network, network
from training import metrics, progress
from training.evaluation.evaluate import evaluate, predict
from zoo import predictive
from zoo.posterior import DeepEnsemble, MonteCarlo

SIZES = (1, 2, 5)


@keras.saving.register_keras_serializable(package="tests")
class CountCalls(keras.layers.Layer):
    """Counts how often its Python code runs: in compiled code, how often it traces."""

    calls = 0

    def call(self, inputs):
        CountCalls.calls += 1
        return inputs


def by_key(rows):
    return {(row["num_samples"], row["metric"]): row["value"] for row in rows}


def test_values_match_a_hand_made_evaluation():
    model = mc_network(name="random")
    rows = evaluate(model, Data(), SIZES, seed=3, batch_size=4, progress=False)
    samples = MonteCarlo(model, 5)(IMAGES, seed=3)
    for size in SIZES:
        probs = as_numpy(predictive.probs(samples[:size]))
        for name, metric in metrics.CLASSIFICATION.items():
            expected = pytest.approx(metric(probs, LABELS), abs=1e-5, nan_ok=True)
            assert by_key(rows)[size, name] == expected, (size, name)


def test_sizes_differ_and_their_rows_are_complete():
    table = {"nll": metrics.nll, "ece": metrics.ece}
    model = mc_network(name="random")
    rows = evaluate(model, Data(), (5, 1), table, seed=2, progress=False)
    assert [(r["num_samples"], r["metric"]) for r in rows] == [
        (1, "nll"),
        (1, "ece"),
        (5, "nll"),
        (5, "ece"),
    ]
    assert rows[0]["value"] != rows[2]["value"]
    for row in rows:
        assert list(row) == [
            "model",
            "dataset",
            "num_samples",
            "metric",
            "value",
            "num_examples",
            "seed",
            "seconds",
        ]
        assert row["model"] == "random"
        assert row["dataset"] == "made_up"
        assert row["num_examples"] == 7
        assert row["seed"] == 2
        assert row["seconds"] > 0
        assert type(row["value"]) is float


@pytest.fixture(scope="module")
def predicted():
    """A posterior, and its predictions in batches of 4."""
    posterior = MonteCarlo(mc_network(), 4)
    return posterior, predict(posterior, IMAGES, (1, 4), 5, 4)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 50])
def test_probabilities_do_not_depend_on_the_batch_size(predicted, batch_size):
    posterior, expected = predicted
    probs = predict(posterior, Slices(IMAGES), (1, 4), 5, batch_size)
    assert probs.dtype == "float32"
    np.testing.assert_allclose(probs, expected, atol=1e-5)


def test_larger_ensembles_begin_with_the_smaller_ones():
    model = mc_network()
    small = by_key(evaluate(model, Data(), (2,), progress=False))
    large = by_key(evaluate(model, Data(), (1, 2, 9), progress=False))
    for key, value in small.items():
        assert large[key] == pytest.approx(value, abs=1e-5, nan_ok=True)


def test_the_seed_makes_the_samples():
    posterior = MonteCarlo(mc_network(), 2)
    values = [
        by_key(evaluate(posterior, Data(), (2,), seed=seed, progress=False))[2, "nll"]
        for seed in (0, 0, 1, -1)
    ]
    assert values[0] == values[1]
    assert len(set(values)) == 3


def test_evaluation_leaves_model_and_random_generators_as_they_were():
    model = mc_network()
    before, state = [as_numpy(v) for v in model.variables], random.getstate()
    evaluate(model, Data(), (2,), progress=False)
    assert random.getstate() == state
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, as_numpy(new))


def test_a_ragged_last_batch_is_not_compiled_again():
    traces = []
    for count in (3, 7):
        model = network(CountCalls())
        CountCalls.calls = 0
        data = Data(IMAGES[:count], LABELS[:count])
        evaluate(model, data, (5,), batch_size=3, progress=False)
        traces.append(CountCalls.calls)
    assert traces[0] == traces[1] > 0


def test_values_of_a_deterministic_model_are_repeated():
    rows = by_key(evaluate(network(), Data(), SIZES, progress=False))
    for name in metrics.CLASSIFICATION:
        assert rows[1, name] == pytest.approx(rows[5, name], abs=1e-6, nan_ok=True)


def test_an_ensemble_is_evaluated_by_its_first_members():
    first, second = network(seed=0), network(seed=1)
    ensemble = DeepEnsemble([first, second], name="both")
    rows = evaluate(ensemble, Data(), (1, 2), progress=False)
    assert {row["model"] for row in rows} == {"both"}
    alone = by_key(evaluate(first, Data(), (1,), progress=False))
    assert by_key(rows)[1, "nll"] == pytest.approx(alone[1, "nll"], abs=1e-5)
    samples = np.stack([as_numpy(first(IMAGES)), as_numpy(second(IMAGES))])
    expected = metrics.nll(as_numpy(predictive.probs(samples)), LABELS)
    assert by_key(rows)[2, "nll"] == pytest.approx(expected, abs=1e-5)


def test_images_of_any_size_suit_a_model_that_takes_them():
    images = keras.Input((None, None, 1))
    features = keras.layers.GlobalAveragePooling2D()(images)
    model = keras.Model(images, keras.layers.Dense(3)(features))
    assert evaluate(model, Data(), (1,), progress=False)


@pytest.mark.parametrize(
    "shape, hint",
    [((9, 9, 1), " With `_size/8` behind its name"), ((8, 8, 3), "$"), ((8, 8), "$")],
)
def test_images_of_another_size_are_refused_and_may_be_resized(shape, hint):
    data = Data(np.zeros((7, *shape), "uint8"))
    message = re.escape(f"with images of shape {shape}")
    with pytest.raises(ValueError, match=f"{message}.?{hint}"):
        evaluate(network(), data, (1,), progress=False)


@pytest.mark.parametrize("backend", marks.OTHERS)
def test_rows_on_others_equal_those_on_tensorflow(backend, tmp_path):
    pytest.importorskip(backend)
    script = f"""
import json, pathlib, sys
import keras
from tests.helpers.data_sets import Data
from tests.helpers.networks import mc_network
from training.evaluation.evaluate import evaluate
rows = evaluate(mc_network(), Data(), {SIZES}, seed=1, batch_size=4, progress=False)
assert keras.backend.backend() == "{backend}" and "tensorflow" not in sys.modules
pathlib.Path(r"{tmp_path}/rows.json").write_text(json.dumps(rows))
"""
    environment = quick(backend)
    processes.run([sys.executable, "-c", script], check=True, env=environment)
    rows = json.loads((tmp_path / "rows.json").read_text())
    expected = evaluate(mc_network(), Data(), SIZES, seed=1, progress=False)
    for row, other in zip(rows, expected, strict=True):
        assert row["metric"] == other["metric"]
        assert row["value"] == pytest.approx(other["value"], abs=1e-4, nan_ok=True)


def test_an_interrupt_and_the_errors_of_metrics_get_through():
    def interrupted(probs, labels):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(network(), Data(), (1,), {"interrupted": interrupted})
    broken = network()
    broken.layers[-1].bias.assign([np.nan, 0, 0])
    with pytest.raises(ValueError, match="NaN or infinity in 7 of 7"):
        evaluate(broken, Data(), (1,), progress=False)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images": IMAGES[:, 1:]}, r"shape \(8, 8, 1\).*made_up.*\(7, 8, 1\)"),
        ({"images": IMAGES[..., 0]}, r"shape \(8, 8, 1\).*shape \(8, 8\)"),
        ({"classes": ("a", "b")}, "labels of data set 'made_up'` must be in"),
        ({"labels": LABELS[:5]}, "7 images, 5 labels"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "0 images"),
        ({"labels": LABELS + 1}, r"\[0, 3\).*from 1 to 3"),
    ],
)
def test_data_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(network(), Data(**change), (1,), progress=False)


@pytest.mark.parametrize(
    "num_samples, message",
    [
        ((), r"one or more.*num_samples=\(\)"),
        ((0, 5), r"positive.*num_samples=\(0, 5\)"),
        ((1.5,), r"integers.*num_samples=\(1.5,\)"),
        ((1, 50), r"draws 2 samples.*num_samples=\(1, 50\)"),
    ],
)
def test_ensemble_sizes_that_make_no_sense_are_refused(num_samples, message):
    ensemble = DeepEnsemble([network(), network()])
    with pytest.raises(ValueError, match=message):
        evaluate(ensemble, Data(), num_samples)


def test_a_log_tells_speed_and_remaining_time(monkeypatch):
    lines = []
    monkeypatch.setattr(
        progress.logging, "info", lambda line, *args: lines.append(line % args)
    )
    with progress.track("resnet20 on digits", 300, period=0.0) as advance:
        for _ in range(3):
            advance(100)
    assert len(lines) == 2
    assert lines[0].startswith("resnet20 on digits: 100 of 300 images, ")
    assert lines[0].endswith(" s left")


def test_a_terminal_shows_a_bar_that_goes_away_after_an_interrupt(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    def work():
        with progress.track("resnet20", 300) as advance:
            advance(100)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    shown = terminal.getvalue()
    assert "100/300" in shown
    assert "images/s" in shown
    assert shown.endswith("\x1b[2K")  # The line is erased.


def test_unknown_90_values_are_nan_not_errors():
    def probably(probs, labels):
        return metrics.acc_90(np.full_like(probs, 1 / probs.shape[1]), labels)

    rows = evaluate(network(), Data(), (1,), {"acc_90": probably}, progress=False)
    assert math.isnan(rows[0]["value"])
