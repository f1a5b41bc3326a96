"""Decisions of an evaluation: what they adapt to, and what is measured."""

import numpy as np
import pytest

from tests.helpers.networks import as_numpy, network
from training import metrics
from training.data.image_data import ImageData
from training.evaluation import adaptation, evaluate, sweep
from zoo import conformal, predictive
from zoo.posterior import Temperature

CLASSES = "ant", "bee", "cat"


def data_set(name, count, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 8, 8, 1)).astype("uint8")
    return ImageData(name, images, rng.integers(0, 3, count), CLASSES)


TEST, HELD_OUT = data_set("made_up", 40, 1), data_set("made_up_validation", 60, 2)


def probs_of(model, dataset):
    return as_numpy(predictive.probs(model(dataset.images)[None]))


def by_key(rows):
    return {(r["model"], r["dataset"], r["metric"]): r["value"] for r in rows}


def test_the_rows_are_those_of_decisions_that_adapt_by_hand(tmp_path):
    model = network()
    names = ["lac_80", "raps_70", "selective_95"]
    rows = sweep.evaluate_all(
        {"m": model}, [TEST], tmp_path, (1,), calibration=HELD_OUT, decide=names
    )
    assert {row["dataset"] for row in rows} == {"made_up"}
    assert {row["num_examples"] for row in rows} == {40}
    found = by_key(rows)
    for name in names:
        decision = conformal.named(name)
        decision.adapt(probs_of(model, HELD_OUT), HELD_OUT.labels)
        sets = as_numpy(decision(probs_of(model, TEST)))
        for metric, of in metrics.SETS.items():
            value = found["m", "made_up", f"{metric}/{name}"]
            assert value == pytest.approx(of(sets, TEST.labels), nan_ok=True)
    # An interrupted evaluation that goes on says the same.
    again = sweep.evaluate_all(
        {"m": model}, [TEST], tmp_path, (1,), calibration=HELD_OUT, decide=names
    )
    assert str(again) == str(rows)


def test_decisions_of_scaled_models_adapt_to_the_other_half(tmp_path):
    model = network()
    models = {"m": model, "m@temperature": Temperature(model)}
    rows = sweep.evaluate_all(
        models, [TEST], tmp_path, (1,), calibration=HELD_OUT, decide=["lac_80"]
    )
    first, second = adaptation.halves(HELD_OUT)
    np.testing.assert_array_equal(first.labels, HELD_OUT.labels[::2])
    np.testing.assert_array_equal(second.images, HELD_OUT.images[1::2])
    scaled = Temperature(model)
    scaled.adapt(first)
    expected = evaluate.evaluate(scaled, TEST, (1,), progress=False)
    found = by_key(rows)
    (nll,) = (row["value"] for row in expected if row["metric"] == "nll")
    assert found["m@temperature", "made_up", "nll"] == pytest.approx(nll, abs=1e-4)
    decision = conformal.LAC(0.8)
    decision.adapt(as_numpy(predictive.probs(scaled(second.images))), second.labels)
    sets = as_numpy(decision(predictive.probs(scaled(TEST.images))))
    value = found["m@temperature", "made_up", "coverage/lac_80"]
    assert value == pytest.approx(metrics.coverage(sets, TEST.labels), abs=0.03)


def test_for_an_export_posterior_and_decision_adapt_to_a_half_each(monkeypatch):
    monkeypatch.setattr(adaptation, "images", lambda *args: (HELD_OUT, "validation"))
    model, halves = network(), adaptation.halves(HELD_OUT)
    decision, expected = conformal.LAC(0.8), conformal.LAC(0.8)
    posterior, scaled = Temperature(model), Temperature(model)
    adaptation.adapt(posterior, "network", None, "made_up", decision=decision)
    scaled.adapt(halves[0])
    probs = as_numpy(predictive.probs(scaled(halves[1].images)))
    expected.adapt(probs, halves[1].labels)
    for found, wanted in ((posterior, scaled), (decision, expected)):
        for name, value in found.values().items():
            other = as_numpy(wanted.values()[name])
            np.testing.assert_allclose(as_numpy(value), other, atol=1e-5)
    # With nothing else to learn from them, the decision has all images.
    adaptation.adapt(posterior, "network", None, "made_up", decision=decision)
    probs = as_numpy(predictive.probs(posterior(HELD_OUT.images)))
    expected.adapt(probs, HELD_OUT.labels)
    np.testing.assert_allclose(
        as_numpy(decision.threshold), as_numpy(expected.threshold), atol=1e-5
    )


def test_what_promises_nothing_is_left_out_and_too_few_images_are_an_error(tmp_path):
    model, left_out = network(), []
    rows = sweep.evaluate_all(
        {"m": model},
        [TEST],
        tmp_path,
        (1,),
        calibration=HELD_OUT,
        decide=["selective_1", "aps_80"],
        left_out=left_out,
    )
    (line,) = left_out
    assert line.startswith("selective_1 of m: No threshold promises")
    assert ("m", "made_up", "coverage/aps_80") in by_key(rows)
    for calibration, message in (
        (HELD_OUT, "coverage of 0.99 takes 99 labeled images"),
        (None, "Decisions adapt to labeled images.*calibration=None"),
    ):
        with pytest.raises(ValueError, match=message):
            sweep.evaluate_all(
                {"m": model},
                [TEST],
                tmp_path,
                (1,),
                calibration=calibration,
                decide=["lac_99"],
            )
