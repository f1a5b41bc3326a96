"""The box plots of a document."""

import pytest

from tests.helpers import reports
from training import report
from training.metrics import display
from training.report import boxes, figures, result_set


@pytest.fixture(scope="module")
def rows():
    return reports.benchmark(("resnet20", "resnet20_mcdo"))


def test_the_boxes_of_a_document_are_those_of_the_page(rows, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(figures, "data_uri", lambda f: kept.append(f) or "data:,")
    monkeypatch.setattr(figures, "save_figure", lambda f, path: kept.append(f))
    boxes.charts(result_set.Results(rows), "fashion_mnist")
    report.plot_severity(rows, "fashion_mnist", tmp_path / "severity.png")
    *single, document = kept
    assert [axis.get_ylabel() for axis in document.axes] == [
        display.heading(metric) for metric in ("accuracy", "nll", "ece")
    ]
    for figure, axis in zip(single, document.axes, strict=True):
        (expected,) = figure.axes
        assert len(axis.patches) == 12
        for found, wanted in zip(axis.patches, expected.patches, strict=True):
            assert (found.get_path().vertices == wanted.get_path().vertices).all()


def test_rows_without_corrupted_sets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="corrupted sets of 'fashion_mnist'"):
        report.plot_severity([reports.row()], "fashion_mnist", tmp_path / "s.png")
    assert not list(tmp_path.iterdir())


def test_models_of_another_data_set_have_no_boxes(rows, tmp_path, monkeypatch):
    others = [
        {**row, "dataset": row["dataset"].replace("fashion_mnist", "cifar10")}
        for row in reports.benchmark(("other",))
    ]
    report.html(rows + others, None, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("Box plots: ") == 6  # Three metrics of each.
    kept = []
    monkeypatch.setattr(figures, "data_uri", lambda f: kept.append(f) or "data:,")
    results = result_set.Results(rows + others)
    for base, count in (("fashion_mnist", 12), ("cifar10", 6)):
        charts = boxes.charts(results, base)
        assert [len(figure.axes[0].patches) for figure in kept] == 3 * [count]
        assert ("other" in charts[0].alt) == (base == "cifar10")
        kept.clear()
