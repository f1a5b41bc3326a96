"""The tables of the benchmark, worked by hand."""

import pathlib

from benchmarks.results import benchmark_page, documents
from tests.helpers import reports

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "benchmark.md"

METRICS = {"accuracy": 0.5, "nll": 1.0, "ece": 0.125}


def rows(model, size, dataset, factor=1.0, metrics=METRICS):
    common = {"model": model, "num_samples": size, "dataset": dataset}
    return [
        {**common, "metric": name, "value": factor * value}
        for name, value in metrics.items()
    ]


def benchmark():
    found = []
    for size in (1, 5):
        found += rows("plain", size, "d") + rows("random", size, "d", 1 / size)
        for model, factor in (("plain", 1), ("random", 1 / size)):
            found += rows(model, size, "d_c/fog/1", 1.2 * factor)
            found += rows(model, size, "d_c/fog/2", 1.8 * factor)
            found += rows(model, size, "d_c/snow/1", 0.6 * factor)
            # A mean over corruptions, which must not be averaged again.
            found += rows(model, size, "d_c", 9, {"mean_nll": 1.0, "nll": 1.0})
            scores = {"auroc/entropy": 0.75, "auroc/energy": 0.1}
            found += rows(model, size, "d vs digits", factor, scores)
    return found


def test_groups_are_averaged_and_deterministic_models_have_one_line():
    heading, rule, *lines = benchmark_page.by_group(benchmark(), "d").splitlines()
    assert heading.split(" | ")[2:] == [
        *("clean: Accuracy (%)", "clean: NLL (nats)", "clean: ECE (%)"),
        *("corrupted: Accuracy (%)", "corrupted: NLL (nats)", "corrupted: ECE (%)"),
        "AUROC against digits (%) |",
    ]
    assert rule.count("|") == heading.count("|")
    assert lines == [
        "| `plain` | 1 | 50.00 | 1.0000 | 12.50 | 60.00 | 1.2000 | 15.00 | 75.00 |",
        "| `random` | 1 | 50.00 | 1.0000 | 12.50 | 60.00 | 1.2000 | 15.00 | 75.00 |",
        "| `random` | 5 | 10.00 | 0.2000 | 2.50 | 12.00 | 0.2400 | 3.00 | 15.00 |",
    ]


def test_what_was_not_evaluated_is_a_dash():
    found = [row for row in benchmark() if row["model"] == "random"]
    found = [
        row
        for row in found
        if row["num_samples"] == 5
        or row["dataset"] not in ("d vs digits", "d_c/snow/1")
    ]
    found += rows("other", 5, "d", metrics={"nll": 2.0})
    lines = benchmark_page.by_group(found, "d").splitlines()[2:]
    assert lines == [
        "| `random` | 1 | 50.00 | 1.0000 | 12.50 | 75.00 | 1.5000 | 18.75 | - |",
        "| `random` | 5 | 10.00 | 0.2000 | 2.50 | 12.00 | 0.2400 | 3.00 | 15.00 |",
        "| `other` | 5 | - | 2.0000 | - | - | - | - | - |",
    ]


def test_corruptions_are_averaged_over_severities_at_the_largest_size():
    lines = benchmark_page.by_corruption(benchmark(), "d", "nll").splitlines()
    assert lines == [
        "| corruption | `plain` | `random` |",
        "| --- | ---: | ---: |",
        "| fog | 1.5000 | 0.3000 |",
        "| snow | 0.6000 | 0.1200 |",
    ]


def test_a_document_gets_tables_and_a_figure(tmp_path):
    found = reports.benchmark()
    path = tmp_path / "benchmark.md"
    path.write_text(f"before\n{documents.START}old\n{documents.END}after\n")
    assert benchmark_page.write(found, "fashion_mnist", path) == (
        path,
        tmp_path / "severity.png",
    )
    head, middle, tail = documents.split(path)
    assert head == f"before\n{documents.START}"
    assert middle == benchmark_page.page(found, "fashion_mnist")
    assert tail == f"{documents.END}after\n"
    assert (tmp_path / "severity.png").read_bytes()[:4] == b"\x89PNG"


def test_the_page_has_the_headings_of_today():
    _, middle, _ = documents.split(PAGE)
    found = []
    for kind in ("", "_c/fog/1", "_rotation/15", "_translation/2"):
        found += rows("m", 5, f"d{kind}", 1)
    for other in ("mnist", "digits"):
        found += rows("m", 5, f"d vs {other}", 1, {"auroc/entropy": 1})
    assert _headings(benchmark_page.page(found, "d")) == _headings(middle)


def _headings(text):
    starts = "| model |", "Mean over"
    return [line for line in text.splitlines() if line.startswith(starts)]
