"""Tables and charts of what models rank by, their own scores."""

import numpy as np

from tests.helpers import reports
from training import metrics, report
from training.report import boxes, confidence, figures, result_set, terminal

SETS = ("cifar10", "cifar10_c/fog/1", "cifar10_c/fog/5", "cifar10_c/snow/5")
VALUES = {"nll": 0.3, "ece": 0.02, "accuracy": 0.9, "raulc": 0.8, "raulc/S": 0.6}


def rows():
    """Two models, of which the second ranks by densities and is worse by a tenth."""
    found = []
    for worse, (model, by) in enumerate({"a.x": "entropy", "b.x": "density"}.items()):

        def add(dataset, metric, value, model=model, by=by):
            metric = metric.replace("S", by)
            new = {"dataset": dataset, "metric": metric, "value": value}
            found.append(reports.row(model, **new))

        for place, dataset in enumerate(SETS):
            for metric, value in VALUES.items():
                add(dataset, metric, value + 0.1 * worse - 0.02 * place)
        for other, value in (("cifar100", 0.8), ("mnist", 0.9)):
            for score in ("energy", "S"):
                shift = 0.05 if score == "S" and worse else 0
                add(f"cifar10 vs {other}", f"auroc/{score}", value + shift)
    return found


def test_the_summary_has_a_line_for_each_model_and_its_own_score(tmp_path):
    mean = "cifar10, mean of 3 corrupted sets"
    units = ["NLL (nats)", "ECE (%)", "Accuracy (%)", "rAULC"]
    heading, *lines = report.summary(rows())
    assert heading == [
        *("Model", "Score", "N"),
        *(f"cifar10: {unit}" for unit in units),
        *(f"{mean}: {unit}" for unit in units),
        "cifar10 vs cifar100 (near): AUROC (%)",
        "cifar10 vs mnist (far): AUROC (%)",
    ]
    assert [line[:7] for line in lines] == [
        ["a", "entropy", "1", "0.3000", "2.00", "90.00", "0.6000"],
        ["b", "density", "1", "0.4000", "12.00", "100.00", "0.7000"],
    ]
    assert [line[7:] for line in lines] == [
        ["0.2600", "-2.00", "86.00", "0.5600", "80.00", "90.00"],
        ["0.3600", "8.00", "96.00", "0.6600", "85.00", "95.00"],
    ]
    report.write_summary(rows(), tmp_path / "s.md")
    written = (tmp_path / "s.md").read_text().splitlines()
    assert written[0] == f"| {' | '.join(heading)} |"
    assert written[1] == f"| --- | --- |{' ---: |' * 11}"
    assert written[3] == f"| {' | '.join(lines[1])} |"


def test_a_terminal_has_a_table_for_each_group_of_columns():
    tables = terminal.by_score(rows())
    assert [title for title, *_ in tables] == [
        "cifar10",
        "cifar10, mean of 3 corrupted sets",
        "AUROC (%)",
    ]
    assert tables[2][1:] == [
        ["Model", "Score", "cifar10 vs cifar100 (near)", "cifar10 vs mnist (far)"],
        ["a", "entropy", "80.00", "90.00"],
        ["b", "density", "85.00", "95.00"],
    ]
    assert tables[0][3] == ["b", "density", "0.4000", "12.00", "100.00", "0.7000"]
    assert terminal.by_score([reports.row()]) == report.summary([reports.row()]) == []


def test_the_page_has_the_summary(tmp_path):
    for name, some in {"own": rows(), "without": [reports.row()]}.items():
        report.html(some, None, tmp_path / f"{name}.html", command="zoo-evaluate")
        page = (tmp_path / f"{name}.html").read_text()
        assert ("By the score of each method" in page) == (name == "own")
        assert ("rAULC by density" in page) == (name == "own")


def test_boxes_of_raulc_are_of_the_own_scores(monkeypatch):
    kept = []
    monkeypatch.setattr(figures, "data_uri", lambda f: kept.append(f) or "data:,")
    results = result_set.Results(rows())
    charts = boxes.charts(results, "cifar10")
    assert charts[-1].title == "rAULC on cifar10 over the corruptions, by severity"
    medians = "a 0.6 at 0, 0.58 at 1, 0.55 at 5; b 0.7 at 0, 0.68 at 1, 0.65 at 5."
    assert charts[-1].alt.endswith(medians)
    assert len(kept) == 4
    assert kept[-1].axes[0].get_ylabel() == "rAULC"
    plain = [row for row in rows() if not row["metric"].startswith("raulc/")]
    assert len(boxes.charts(result_set.Results(plain), "cifar10")) == 3
    many = [{**row, "model": f"m{i}"} for i in range(7) for row in plain]
    wide = boxes.charts(result_set.Results(many), "cifar10")
    assert all(chart.is_wide for chart in wide)
    assert not any(chart.is_wide for chart in charts)
    assert kept[-1].get_figwidth() == 2 * kept[0].get_figwidth()


def test_risk_coverage_curves_are_by_the_own_scores(tmp_path):
    rng, drawn = np.random.default_rng(0), {}
    for model in ("a.x", "b.x"):
        for place, dataset in enumerate(SETS):
            probs, labels = reports.outcomes(60, 1.5, seed=place)
            density = rng.normal(size=60)
            reports.store(
                tmp_path, model, dataset, probs, labels, (1,), scores=["density"]
            )
            folder = confidence.predictions.folder_of(tmp_path, model, dataset)
            np.save(folder / "density.npy", density[None].astype("float32"))
            entropy = -(probs * np.log(probs)).sum(axis=1)
            own = {"a.x": entropy, "b.x": density}[model]
            drawn.setdefault(model, []).append((probs, labels, own))
    stored = confidence.Stored(result_set.Results(rows()), tmp_path)
    clean, corrupted = confidence.risk_coverage(stored, "cifar10")
    for chart, some in ((clean, slice(0, 1)), (corrupted, slice(1, 4))):
        for model, label in (("a.x", "a, entropy"), ("b.x", "b, density")):
            parts = zip(*drawn[model][some], strict=True)
            curve = metrics.risk_coverage(*map(np.concatenate, parts))
            half = 100 * curve.risk[len(curve.risk) // 2 - 1]
            assert f"{label} {half:.2f} at 50" in chart.alt
    assert "cifar10, all corruptions" in corrupted.title
