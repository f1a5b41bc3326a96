"""The medians over corruptions on a terminal."""

import io
import math
import statistics

from rich import console

from tests.helpers import reports
from training.metrics import SETS
from training.report import terminal

HEADINGS = ["Accuracy (%)", "NLL (nats)", "Brier", "ECE (%)"]


def row(model, size, dataset, metric, value):
    names = "model", "num_samples", "dataset", "metric", "value"
    return dict(zip(names, (model, size, dataset, metric, value), strict=True))


def test_the_table_has_medians_over_corruptions_of_the_largest_ensemble():
    metrics = ("accuracy", "nll", "brier", "ece")
    rows = [
        row("a", size, dataset, metric, value * size)
        for size in (1, 2)
        for dataset, value in [
            ("x", 0.1),
            ("x_c/fog/3", 0.2),
            ("x_c/snow/3", 0.5),
            ("x_c/frost/3", 0.3),
            ("x_c/fog/1", 0.4),
            ("x_rotation/15", 0.9),
            ("x_c", 0.9),
            ("x vs y", 0.9),
        ]
        for metric in (
            metrics if dataset not in ("x_c", "x vs y") else ["auroc/energy"]
        )
    ]
    heading, *lines = terminal.by_severity(rows)
    assert heading == ["Model", "N", "Severity", *HEADINGS]
    assert lines == [
        ["a", "2", "0", "20.00", "0.2000", "0.2000", "20.00"],
        ["a", "2", "1", "80.00", "0.8000", "0.8000", "80.00"],
        ["a", "2", "3", "60.00", "0.6000", "0.6000", "60.00"],
    ]
    assert terminal.by_severity(rows[:1])[1:] == []


def test_another_size_has_lines_of_its_own():
    rows = reports.benchmark()
    of_one = terminal.by_severity(rows)
    others = reports.resized(rows, 0.25)
    heading, *lines = terminal.by_severity([*rows, *others])
    assert heading == ["Dataset", *of_one[0]]
    first, second = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    assert first == [["fashion_mnist", *line] for line in of_one[1:]]
    of_other = terminal.by_severity(others)[1:]
    assert second == [["fashion_mnist_size/64", *line] for line in of_other]
    fog = [
        r["value"]
        for r in others
        if r["dataset"].endswith("/3_size/64")
        and (r["model"], r["num_samples"], r["metric"]) == ("resnet20", 10, "nll")
    ]
    (line,) = [line for line in second if line[1] == "resnet20" and line[3] == "3"]
    assert len(fog) == len(reports.CORRUPTIONS)
    assert line[5] == f"{statistics.median(fog):.4f}"


def test_each_data_set_has_its_largest_ensemble():
    sizes = {"x": (1, 5), "x_c/fog/1": (1, 5), "y": (1, 2), "y_c/fog/1": (1, 2)}
    rows = [
        row("a", size, dataset, metric, 0.5)
        for dataset, found in {**sizes, "z": (9,)}.items()
        for size in found
        for metric in ("accuracy", "nll", "brier", "ece")
    ]
    assert [line[:4] for line in terminal.by_severity(rows)[1:]] == [
        *(["x", "a", "5", "0"], ["x", "a", "5", "1"]),
        *(["y", "a", "2", "0"], ["y", "a", "2", "1"]),
    ]


def test_no_digit_of_a_median_is_lost_at_80_columns():
    name = "resnet110_smooth_mcdo_blurpool.fashion_mnist@swag:rank=2:scale=0.5"
    rows = reports.benchmark((name,))
    heading, *lines = terminal.by_severity([*rows, *reports.resized(rows)])
    screen = console.Console(file=io.StringIO(), width=80)
    screen.print(terminal._table("Medians", heading, lines))
    shown = screen.file.getvalue().split()
    for line in lines:
        assert not {*line[2:]} - {*shown}
    assert {"@swag", ":rank=2", ":scale=0.5"} <= {*shown}  # Each on a line of its own.


def test_decisions_have_a_line_for_each_severity():
    row = {"model": "m", "num_samples": 2}
    rows = [
        {**row, "dataset": name, "metric": f"{metric}/aps_90", "value": value}
        for name, value in (("d", 0.9), ("d_c/fog/3", 0.5), ("d_c/snow/3", 0.7))
        for metric in SETS
    ]
    rows.append({**row, "dataset": "d", "metric": "nll", "value": 1.0})
    heading, clean, corrupted = terminal.by_decision(rows)
    assert heading[:5] == ["Model", "N", "Decision", "Severity", "Coverage (%)"]
    assert clean[:6] == ["m", "2", "aps_90", "0", "90.00", "0.900"]
    assert corrupted[:6] == ["m", "2", "aps_90", "3", "60.00", "0.600"]
    rows = [{**r, "value": math.nan} for r in rows if r["dataset"] == "d"]
    assert terminal.by_decision(rows)[1][4] == "-"
    assert terminal.by_decision(rows[-1:]) == []


def test_what_was_left_out_is_a_sentence(capsys):
    outcome = terminal.Outcome(
        reports.benchmark(), [], ["a: no file", "b: too few?", "c: none."]
    )
    outcome.show()
    said = [line for line in capsys.readouterr().out.splitlines() if "Left" in line]
    assert said == [
        "Left out: a: no file.",
        "Left out: b: too few?",
        "Left out: c: none.",
    ]
