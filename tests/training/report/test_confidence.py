"""The sections that are made from stored predictions."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers import reports
from training import data, metrics, report
from training.evaluation import predictions
from training.report import confidence, figures, mistakes, result_set

MODELS = ("resnet20", "resnet20_mcdo")
BASE = "fashion_mnist"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("predictions")


@pytest.fixture(scope="module")
def images(folder):
    labels = reports.store_benchmark(folder, MODELS)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 9, 3), "uint8")
    names = tuple(f"class {i}" for i in range(reports.CLASSES))
    return data.ImageData(BASE, pixels, labels, names)


@pytest.fixture
def stored(folder, images):
    return confidence.Stored(result_set.Results(reports.benchmark(MODELS)), folder)


@pytest.fixture
def drawings(monkeypatch):
    kept = []
    monkeypatch.setattr(figures, "data_uri", lambda f: kept.append(f) or "data:,")
    return kept


def everything(folder, model, severity=None):
    """Probabilities and labels of all corruptions, put together."""
    found = []
    for corruption in reports.CORRUPTIONS:
        for s in range(1, 6) if severity is None else [severity]:
            name = f"{BASE}_c/{corruption}/{s}"
            stored = predictions.load(predictions.folder_of(folder, model, name))
            found.append((stored.probs[-1], stored.labels))
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def test_reliability_is_that_of_all_corruptions_put_together(stored, drawings, folder):
    charts = confidence.reliability(stored, BASE)
    assert [chart.title for chart in charts] == [f"{m} on {BASE}" for m in MODELS]
    for figure, model in zip(drawings, MODELS, strict=True):
        upper, lower = figure.axes
        diagonal, *lines = upper.get_lines()
        np.testing.assert_array_equal(*diagonal.get_data())
        names = ["clean", "severity 1", "severity 3", "severity 5"]
        assert [line.get_label() for line in lines] == names
        for line, shares, severity in zip(
            lines[1:], lower.patches[1:], (1, 3, 5), strict=True
        ):
            bins = metrics.reliability(*everything(folder, model, severity))
            shown = bins.count > 2
            assert shown.sum() > 8
            expected = 100 * bins.confidence[shown], 100 * bins.accuracy[shown]
            np.testing.assert_allclose(line.get_data(), expected)
            share = 100 * bins.count / bins.count.sum()
            np.testing.assert_allclose(shares.get_data().values, share)
        assert upper.get_ylabel() == "Accuracy in the bin (%)"
        assert "%" in lower.get_xlabel()


def test_thresholds_are_those_of_all_corruptions_put_together(stored, drawings, folder):
    charts = confidence.thresholds(stored, BASE)
    assert [chart.title for chart in charts] == [
        f"{what} above a confidence: {BASE}, {where}"
        for where in ("clean", "all corruptions")
        for what in ("Accuracy (%)", "Share of the images (%)")
    ]
    for index, model in enumerate(MODELS):
        probs, labels = everything(folder, model)
        sure, right = probs.max(axis=1), probs.argmax(axis=1) == labels
        accuracy, share = (d.axes[0].get_lines()[index] for d in drawings[2:])
        assert accuracy.get_label() == share.get_label() == model
        for line, expected in (
            (accuracy, [right[sure >= t].mean() for t in (0.0, 0.5, 0.9)]),
            (share, [(sure >= t).mean() for t in (0.0, 0.5, 0.9)]),
        ):
            x, y = line.get_data()
            np.testing.assert_allclose(x[[0, 50, 90]], [0, 0.5, 0.9])
            np.testing.assert_allclose(y[[0, 50, 90]], 100 * np.array(expected))


def test_the_error_falls_to_that_of_all_images_as_all_are_kept(stored, drawings):
    (chart,) = confidence.risk_coverage(stored, BASE)
    for line, model in zip(drawings[0].axes[0].get_lines(), MODELS, strict=True):
        x, y = line.get_data()
        assert len(x) == 200
        assert x[-1] == 100
        error = 1 - metrics.accuracy(*stored.get(model, BASE))
        assert y[-1] == pytest.approx(100 * error)
        kept = metrics.risk_coverage(*stored.get(model, BASE))
        assert y[99] == pytest.approx(100 * np.interp(x[99], 100 * kept[0], kept[1]))
    assert "at 50" in chart.alt


def test_entropies_are_shares_of_each_data_set(stored, drawings):
    charts = confidence.entropies(stored, BASE)
    assert [chart.title for chart in charts] == list(MODELS)
    for figure, model in zip(drawings, MODELS, strict=True):
        inside, _, *outside = figure.axes[0].patches
        for patch, name in zip(
            [inside, *outside], [BASE, "mnist", "digits"], strict=True
        ):
            probs = stored.get(model, name)[0].astype("float64")
            entropy = -np.sum(probs * np.log(probs), axis=1)
            edges = np.linspace(0, np.log(reports.CLASSES), 31)
            expected = 100 * np.histogram(entropy, edges)[0] / len(entropy)
            np.testing.assert_allclose(patch.get_data().values, expected)
            assert patch.get_data().values.sum() == pytest.approx(100)
            assert patch.get_label().startswith(name)


def test_the_mistakes_are_the_most_confident_ones_with_their_pictures(stored, images):
    found = mistakes.most_confident(stored, BASE, images)
    assert list(found) == list(MODELS)
    for model, shown in found.items():
        probs, labels = stored.get(model, BASE)
        wrong = [i for i in range(len(labels)) if probs[i].argmax() != labels[i]]
        wrong = sorted(wrong, key=lambda i: -probs[i].max())[:12]
        assert [mistake.index for mistake in shown] == wrong
        for mistake in shown:
            i = mistake.index
            assert mistake.confidence == pytest.approx(probs[i].max())
            assert mistake.predicted == f"class {probs[i].argmax()}"
            assert mistake.truth == f"class {labels[i]}"
            file = io.BytesIO(base64.b64decode(mistake.uri.partition(",")[2]))
            np.testing.assert_array_equal(Image.open(file), images.images[i])


def test_no_pictures_are_shown_that_are_not_those_of_the_predictions(stored, images):
    other = data.ImageData(BASE, images.images, images.labels[::-1], images.classes)
    assert mistakes.most_confident(stored, BASE, other) == {}
    assert mistakes.most_confident(stored, BASE, []) == {}
    # The packaged test set has the name, but other labels.
    assert mistakes.most_confident(stored, BASE) == {}
    found = mistakes.most_confident(stored, BASE, [other, images][1:])
    assert len(found["resnet20"]) == 12


def test_gray_and_large_and_float_images_become_pictures():
    def opened(pixels):
        uri = mistakes._picture(pixels)
        return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))

    gray = np.arange(64, dtype="uint8").reshape(8, 8, 1)
    np.testing.assert_array_equal(opened(gray), gray[..., 0])
    np.testing.assert_array_equal(
        opened(gray + 0.4 - 9), np.maximum(gray, 9)[..., 0] - 9
    )
    large = opened(np.full((500, 250, 3), 77, "uint8"))
    assert large.size == (80, 160)
    assert large.format == "JPEG"
    assert np.abs(np.asarray(large, int) - 77).max() <= 2


def test_the_page_has_all_sections_and_is_no_larger_than_it_must_be(
    folder, images, tmp_path
):
    rows = reports.benchmark(MODELS)
    report.html(rows, folder, tmp_path / "r.html", images=images)
    page = (tmp_path / "r.html").read_text()
    sections = ["results", "sizes", "corruptions", "severity", "shift", "calibration"]
    sections += ["thresholds", "detection", "mistakes", "values", "definitions", "made"]
    assert re.findall(r'<section id="(\w+)"', page) == sections
    assert re.findall(r'<a href="#(\w+)"', page) == sections
    assert page.count("class 3") >= 1
    assert len(page) < 1e6
    for what, count in (("Reliability diagram", 2), ("Histograms of the entropy", 2)):
        assert page.count(f'alt="{what}') == count


def test_models_without_predictions_are_left_out(folder, images, tmp_path):
    rows = reports.benchmark((*MODELS, "another"))
    stored = confidence.Stored(result_set.Results(rows), folder)
    assert len(confidence.reliability(stored, BASE)) == 2
    assert len(confidence.entropies(stored, BASE)) == 2
    assert list(mistakes.most_confident(stored, BASE, images)) == list(MODELS)
    empty = confidence.Stored(result_set.Results(rows), tmp_path)
    for draw in (confidence.reliability, confidence.thresholds, confidence.entropies):
        assert draw(empty, BASE) == []
    assert confidence.risk_coverage(empty, BASE) == []


def test_predictions_of_a_size_are_those_of_the_rows(tmp_path):
    probs = np.eye(10)[:4]
    reports.store(tmp_path, "m", BASE, probs, sizes=(1, 10, 50))
    place = predictions.folder_of(tmp_path, "m", BASE)
    three = np.stack([probs, probs[::-1], probs]).astype("float32")
    np.save(place / "probs.npy", three)
    rows = [reports.row("m", size) for size in (1, 10)]
    stored = confidence.Stored(result_set.Results(rows), tmp_path)
    np.testing.assert_array_equal(stored.get("m", BASE)[0], probs[::-1])


def test_what_another_evaluation_has_begun_is_not_looked_at(tmp_path, drawings):
    for model, done in (("a", 10), ("b", 10), ("c", 3)):
        reports.store(tmp_path, model, BASE, np.eye(10), done=done)
        reports.store(tmp_path, model, "mnist", np.eye(10), done=done)
    rows = [reports.row(model, 10) for model in ("a", "b")]
    rows += [reports.row("c", 10, dataset="other")]
    rows += [reports.row("a", 10, "auroc/entropy", dataset=f"{BASE} vs mnist")]
    stored = confidence.Stored(result_set.Results(rows), tmp_path)
    assert len(confidence.reliability(stored, BASE)) == 2
    assert [chart.title for chart in confidence.entropies(stored, BASE)] == ["a"]


@pytest.mark.parametrize("damage", ["truncated", "unfinished"])
def test_damaged_predictions_are_refused(tmp_path, damage):
    reports.store(tmp_path, "resnet20", BASE, np.eye(10))
    place = predictions.folder_of(tmp_path, "resnet20", BASE)
    if damage == "truncated":
        whole = (place / "probs.npy").read_bytes()
        (place / "probs.npy").write_bytes(whole[:-8])
    else:
        meta = json.loads((place / "meta.json").read_text())
        (place / "meta.json").write_text(json.dumps(meta | {"done": 3}))
    message = {"truncated": "probs.npy' is truncated", "unfinished": "image 3 of 10"}
    with pytest.raises(ValueError, match=message[damage]):
        report.html([reports.row()], tmp_path, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()
