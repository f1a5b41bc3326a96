import io
import json
import math
import pathlib

import numpy as np
import pytest
from matplotlib import image
from rich import console

from tests.helpers.reports import row
from training import metrics, report


def rows_of(*models, sizes=(1, 2, 5, 10, 30, 50), **changes):
    """All metrics; the values of a model fall with the ensemble size."""
    return [
        row(model, size, metric, (1 + index / 10) / (2 + np.log(size)), **changes)
        for index, model in enumerate(models)
        for size in sizes
        for metric in metrics.CLASSIFICATION
    ]


def test_rows_survive_a_file_of_strict_json(tmp_path):
    rows = [row(), row(metric="acc_90", value=math.nan)]
    report.write_rows(rows, tmp_path / "new" / "rows.jsonl")
    lines = (tmp_path / "new" / "rows.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == rows[0]
    assert '"value": null' in lines[1]
    restored = report.read_rows(tmp_path / "new" / "rows.jsonl")
    assert restored[0] == rows[0]
    assert math.isnan(restored[1].pop("value"))
    assert restored[1] == {k: v for k, v in rows[1].items() if k != "value"}


@pytest.mark.parametrize("line", ["{", "[1]", '{"model": "m"}'])
def test_a_line_that_is_no_row_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(row())}\n{line}\n")
    with pytest.raises(ValueError, match=r"Line 2 of '.*rows.jsonl'.*Received: "):
        report.read_rows(path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"model.tflite' is no file of rows"):
        report.read_rows(path)


def test_an_interrupt_leaves_the_older_file_and_no_other(tmp_path):
    path = tmp_path / "rows.jsonl"
    report.write_rows([row()], path)

    def interrupted():
        yield row(value=1.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report.write_rows(interrupted(), path)
    assert report.read_rows(path) == [row()]
    assert list(tmp_path.iterdir()) == [path]


def test_the_markdown_table_has_a_line_per_model_and_size_and_a_column_per_metric():
    rows = [
        row("a", 1, "accuracy", 0.9321),
        row("a", 1, "nll", 0.25),
        row("a", 10, "accuracy", 0.94),
        row("a", 10, "nll", 0.2),
        row("b", 1, "nll", 0.5),
        row("b", 1, "unc_90", math.nan),
    ]
    assert report.markdown(rows) == (
        "| Model | N | Accuracy (%) | NLL (nats) | Unc-90 (%) |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| a | 1 | 93.21 | 0.2500 | - |\n"
        "| a | 10 | 94.00 | 0.2000 | - |\n"
        "| b | 1 | - | 0.5000 | - |\n"
    )


def test_several_data_sets_get_a_column_and_unknown_metrics_their_name():
    rows = [row(dataset="clean"), row(dataset="fog", metric="mine", value=2)]
    assert report.table(rows) == [
        ["Dataset", "Model", "N", "NLL (nats)", "mine"],
        ["clean", "resnet20", "1", "0.2500", "-"],
        ["fog", "resnet20", "1", "-", "2.0000"],
    ]


def test_values_of_several_seeds_become_mean_and_standard_deviation():
    rows = [row(value=v, seed=s) for s, v in enumerate((0.1, 0.2, 0.3))]
    assert report.table(rows)[1] == ["resnet20", "1", "0.2000 ± 0.1000"]


def test_the_table_on_the_terminal_loses_no_digit_at_80_columns():
    rows = rows_of("resnet110_smooth_mcdo_blurpool.fashion_mnist", "resnet20")
    rows += [row("worst", 100, name, 99.99) for name in metrics.CLASSIFICATION]
    rows += [row("full", 50, name, 1.0) for name in metrics.CLASSIFICATION]
    screen = console.Console(file=io.StringIO(), width=80)
    screen.print(report.rich_table(rows))
    shown = screen.file.getvalue()
    for word in ("Accuracy", "Brier", "ECE", "Acc-90", "Unc-90", "Freq-90", "Entropy"):
        assert f"{word} " in shown
    assert "resnet110_smooth_mcdo_blurpool.fashion_mnist on fashion_mnist" in shown
    printed = [words.split() for words in shown.splitlines()]
    for _, size, *line in report.table(rows)[1:]:
        for first in range(0, len(line), 6):
            assert [size, *line[first : first + 6]] in printed


def test_the_figure_is_a_picture_with_axes_units_and_legend(tmp_path):
    models = ["resnet20", "resnet20_smooth", "resnet20_mcdo"]
    report.plot_ensemble_size(rows_of(*models), tmp_path / "sizes.png")
    pixels = image.imread(tmp_path / "sizes.png")[..., :3]
    assert pixels.shape[1] > 2 * pixels.shape[0] > 600
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100

    report.plot_ensemble_size(rows_of(*models), tmp_path / "sizes.svg")
    text = (tmp_path / "sizes.svg").read_text()
    for label in [*models, "NLL (nats)", "Accuracy (%)", "ECE (%)", "forward passes"]:
        assert label in text


def test_the_curves_have_the_values_of_the_rows_in_order_of_size(monkeypatch):
    figures = []
    monkeypatch.setattr(
        report.figures, "save_figure", lambda f, path: figures.append(f)
    )
    rows = rows_of("a", "b", sizes=(50, 1, 5)) + rows_of("b", sizes=(2,))
    report.plot_ensemble_size(rows, "unused.png")
    for axis, metric in zip(figures[0].axes, ("nll", "accuracy", "ece"), strict=True):
        factor = 1 if metric == "nll" else 100
        lines = axis.get_lines()
        for line, sizes in zip(lines, [(1, 5, 50), (1, 2, 5, 50)], strict=True):
            x, y = line.get_data()
            expected = [
                factor * r["value"]
                for size in sizes
                for r in rows
                if (r["model"], r["num_samples"], r["metric"])
                == (line.get_label(), size, metric)
            ]
            np.testing.assert_allclose(x, sizes)
            np.testing.assert_allclose(y, expected)
        assert axis.get_xscale() == "log"
        assert list(axis.get_xticks()) == [1, 2, 5, 50]


def test_trainings_with_other_seeds_are_one_line_in_a_band(monkeypatch):
    figures = []
    monkeypatch.setattr(
        report.figures, "save_figure", lambda f, path: figures.append(f)
    )
    values = {
        "a.d": [0.5, 0.2],
        "a.d_seed1": [0.7, 0.1],
        "a.d_seed2": [0.3],
        "b": [0.4],
    }
    rows = [
        row(model=model, num_samples=size, metric="ece", value=value)
        for model, of_model in values.items()
        for size, value in zip((1, 5), of_model, strict=False)
    ]
    report.plot_ensemble_size(rows, "unused.png")
    (axis,) = figures[0].axes
    first, second = axis.get_lines()
    assert (first.get_label(), second.get_label()) == ("a.d", "b")
    np.testing.assert_allclose(first.get_xdata(), [1])  # Which all three have.
    np.testing.assert_allclose(first.get_ydata(), [50])
    (band,) = axis.collections
    corners = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([corners.min(), corners.max()], [30, 70])


def test_lines_differ_without_their_color(monkeypatch):
    figures = []
    monkeypatch.setattr(
        report.figures, "save_figure", lambda f, path: figures.append(f)
    )
    report.plot_ensemble_size(rows_of(*"abcdefghijklmn", sizes=(1, 2)), "unused.png")
    looks = [
        (line.get_marker(), line._dash_pattern)
        for line in figures[0].axes[0].get_lines()
    ]
    assert len(looks) == 14
    assert len({str(look) for look in looks}) == 14


def test_a_figure_of_one_size_or_without_ece_can_be_drawn(tmp_path):
    report.plot_ensemble_size([row()], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_equal_figures_are_equal_files(tmp_path, kind):
    paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for path in paths:
        report.plot_ensemble_size(rows_of("a", sizes=(1, 2)), path)
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.mark.parametrize(
    "rows, name, message",
    [
        ([], "x.png", r"one data set.*datasets=\[\]"),
        ([row(), row(dataset="fog")], "x.png", "one data set.*fashion_mnist.*fog"),
        ([row()], "x.pdf", "a .png or a .svg file.*x.pdf"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused(tmp_path, rows, name, message):
    with pytest.raises(ValueError, match=message):
        report.plot_ensemble_size(rows, tmp_path / name)
    assert list(pathlib.Path(tmp_path).iterdir()) == []


def test_what_does_not_depend_on_the_size_is_in_one_line():
    values = {"plain": (0.9, 0.9, 0.9), "drawn": (0.8, 0.85, 0.85), "single": (0.7,)}
    rows = [
        {"model": m, "dataset": "d", "num_samples": n, "metric": "accuracy", "value": v}
        for m, found in values.items()
        for n, v in zip((5, 1, 50), found, strict=False)
    ]
    rows += [{**r, "metric": "acc_90", "value": math.nan} for r in rows]
    _, *lines = report.table(rows)
    assert [line[:2] for line in lines] == [
        *(["plain", "1"], ["drawn", "5"], ["drawn", "1"], ["drawn", "50"]),
        ["single", "5"],
    ]
