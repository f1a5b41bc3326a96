"""The page: its numbers, its text, its figures, its file."""

import base64
import html
import math
import pathlib
import re

import numpy as np
import pytest

from tests.helpers import reports
from training import metrics, report
from training.metrics import display
from training.report import (
    about,
    boxes,
    curves,
    figures,
    heat_maps,
    html_tables,
    result_set,
)

MODELS = ("resnet20", "resnet20_mcdo", "resnet20_smooth")


def write(rows, folder, **options):
    report.html(rows, options.pop("predictions", None), folder / "r.html", **options)
    return (folder / "r.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows():
    return reports.benchmark(MODELS)


@pytest.fixture(scope="module")
def page(rows, tmp_path_factory):
    return write(rows, tmp_path_factory.mktemp("page"), command="zoo-evaluate --x=1")


def tables(page):
    """The texts of the cells of each table, by line."""
    for table in re.findall(r"<table class=\"sortable\">.*?</table>", page, re.S):
        body = table.partition("<tbody>")[2]
        yield [
            re.findall(r"<td[^>]*>([^<]*)</td>", line)
            for line in re.findall(r"<tr>.*?</tr>", body, re.S)
        ]


def value(rows, model, dataset, metric, size=10):
    (found,) = [
        r["value"]
        for r in rows
        if (r["model"], r["dataset"], r["metric"], r["num_samples"])
        == (model, dataset, metric, size)
    ]
    return found


def test_the_headline_has_the_values_of_the_rows(rows, page):
    headline = next(tables(page))
    assert [line[0] for line in headline] == list(MODELS)
    corrupted = {r["dataset"] for r in rows if "_c/" in r["dataset"]}
    assert len(corrupted) == 20
    for model, line in zip(MODELS, headline, strict=True):
        clean = {m: value(rows, model, "fashion_mnist", m) for m in metrics_shown()}
        mean = {
            m: np.mean([value(rows, model, name, m) for name in corrupted])
            for m in ("accuracy", "nll", "ece")
        }
        expected = [
            *("10", f"{100 * clean['accuracy']:.2f}", f"{clean['nll']:.4f}"),
            *(f"{100 * clean['ece']:.2f}", f"{clean['brier']:.4f}"),
            *(f"{100 * mean['accuracy']:.2f}", f"{mean['nll']:.4f}"),
            f"{100 * mean['ece']:.2f}",
        ]
        for other in ("mnist", "digits"):
            name = f"fashion_mnist vs {other}"
            expected.append(f"{100 * value(rows, model, name, 'auroc/entropy'):.2f}")
        assert line[1:] == expected


def metrics_shown():
    return "accuracy", "nll", "ece", "brier"


def test_the_best_value_of_a_column_is_marked_by_its_direction(page):
    best = re.findall(r'class="[^"]*best">([^<]*)<', page)
    lines = list(zip(*next(tables(page)), strict=True))[2:]
    most = [max, min, min, min, max, min, min, max, max]
    assert best == sorted(
        (way(column, key=float) for way, column in zip(most, lines, strict=True)),
        key=best.index,
    )


def test_every_value_of_the_largest_ensembles_is_in_a_table(rows, page):
    lines = [line for table in list(tables(page))[1:] for line in table]
    shown = {(line[0], line[1]): line[3:] for line in lines}
    assert len(shown) == len(lines) == len(MODELS) * (1 + 20 + 3 + 2 + 2)
    for model in MODELS:
        for dataset in ("fashion_mnist", "fashion_mnist_c/fog/3"):
            assert shown[dataset, model] == [
                display.number(m, value(rows, model, dataset, m))
                for m in ("accuracy", "nll", "brier", "ece")
            ]


def test_the_heat_maps_have_the_values_on_one_scale(rows):
    maps = heat_maps.heat_maps(result_set.Results(rows), "fashion_mnist", "nll")
    assert [m.title for m in maps.maps] == list(MODELS)
    darkness = {}
    for model, table in zip(MODELS, maps.maps, strict=True):
        assert list(table.lines) == list(reports.CORRUPTIONS)
        assert table.severities == [1, 2, 3, 4, 5]
        for corruption, line in table.lines.items():
            values = [
                value(rows, model, f"fashion_mnist_c/{corruption}/{s}", "nll")
                for s in range(1, 6)
            ]
            values.append(np.mean(values))
            assert [cell.text for cell in line] == [f"{v:.2f}" for v in values]
            for cell, number in zip(line, values, strict=True):
                assert darkness.setdefault(number, light(cell)) == light(cell)
    lights = [darkness[number] for number in sorted(darkness)]
    assert lights == sorted(lights, reverse=True)
    assert lights[0] > 0.9
    assert lights[-1] < 0.1


def light(cell):
    channels = [int(cell.background[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.dot([0.2126, 0.7152, 0.0722], np.power(channels, 2.2))


def test_the_words_on_every_cell_can_be_read(rows):
    for metric in ("accuracy", "nll", "ece"):
        maps = heat_maps.heat_maps(result_set.Results(rows), "fashion_mnist", metric)
        for table in maps.maps + maps.differences:
            for cell in (cell for line in table.lines.values() for cell in line):
                ink = 0.0 if cell.color == "#000000" else 1.0
                low, high = sorted((light(cell), ink))
                assert (high + 0.05) / (low + 0.05) > 4.4  # 4.5 is the WCAG's AA.


@pytest.mark.parametrize("metric, digits", [("accuracy", 1), ("nll", 2)])
def test_differences_are_blue_where_the_first_named_is_better(rows, metric, digits):
    maps = heat_maps.heat_maps(result_set.Results(rows), "fashion_mnist", metric)
    assert len(maps.differences) == 3
    sign, factor = (1, 100) if metric == "accuracy" else (-1, 1)
    seen = set()
    for table in maps.differences:
        second, first = table.title.split(" minus ")
        for corruption, line in table.lines.items():
            for severity, cell in enumerate(line[:5], 1):
                name = f"fashion_mnist_c/{corruption}/{severity}"
                gap = value(rows, second, name, metric)
                gap -= value(rows, first, name, metric)
                assert float(cell.text) == round(factor * gap, digits)
                red, blue = (int(cell.background[i : i + 2], 16) for i in (1, 5))
                if abs(gap) > 0.01:
                    assert (blue > red) == (sign * gap > 0)
                    seen.add(blue > red)
    assert seen == {True, False}


def drawings(monkeypatch):
    """Keeps the figures that are drawn."""
    kept = []
    monkeypatch.setattr(figures, "data_uri", lambda f: kept.append(f) or "data:,")
    return kept


def test_boxes_are_over_the_corruptions(rows, monkeypatch):
    kept = drawings(monkeypatch)
    charts = boxes.charts(result_set.Results(rows), "fashion_mnist")
    assert len(charts) == len(kept) == 3
    axis = kept[1].axes[0]
    assert axis.get_ylabel() == "NLL (nats)"
    assert axis.get_xlabel() == "Severity of the corruption"
    labels = [tick.get_text() for tick in axis.get_xticklabels()]
    assert labels == ["clean", "1", "2", "3", "4", "5"]
    middles = {line.get_label(): line for line in axis.get_lines()}
    assert len(axis.patches) == 18
    for index, model in enumerate(MODELS):
        for severity in range(1, 6):
            values = [
                value(rows, model, f"fashion_mnist_c/{c}/{severity}", "nll")
                for c in reports.CORRUPTIONS
            ]
            box = axis.patches[6 * index + severity].get_path().vertices[:, 1]
            quartiles = np.quantile(values, [0.25, 0.75])
            np.testing.assert_allclose([box.min(), box.max()], quartiles)
            x, y = (line[severity] for line in middles[model].get_data())
            assert y == pytest.approx(np.median(values))
            assert abs(x - severity) < 0.4


def test_another_size_has_heat_maps_and_boxes_of_its_own(rows, monkeypatch, tmp_path):
    kept = drawings(monkeypatch)
    both = [*rows, *reports.resized(rows, 0.25)]
    results = result_set.Results(both)
    for base, of_size in (("fashion_mnist", ""), ("fashion_mnist_size/64", "_size/64")):
        kept.clear()
        maps = heat_maps.heat_maps(results, base, "nll")
        assert len(boxes.charts(results, base)) == len(kept) == 3
        axis = kept[1].axes[0]
        assert len(axis.patches) == 6 * len(MODELS)
        for index, (model, table) in enumerate(zip(MODELS, maps.maps, strict=True)):
            assert table.severities == [1, 2, 3, 4, 5]
            lines = {
                c: [
                    value(both, model, f"fashion_mnist_c/{c}/{s}{of_size}", "nll")
                    for s in range(1, 6)
                ]
                for c in reports.CORRUPTIONS
            }
            shown = {
                c: [cell.text for cell in cells] for c, cells in table.lines.items()
            }
            assert shown == {
                c: [f"{v:.2f}" for v in [*line, np.mean(line)]]
                for c, line in lines.items()
            }
            for severity in range(1, 6):
                box = axis.patches[6 * index + severity].get_path().vertices[:, 1]
                values = [line[severity - 1] for line in lines.values()]
                quartiles = np.quantile(values, [0.25, 0.75])
                np.testing.assert_allclose([box.min(), box.max()], quartiles)
    monkeypatch.undo()
    page = write(both, tmp_path)
    for section in ("corruptions", "severity"):
        text = page.partition(f'id="{section}"')[2].partition("</section>")[0]
        assert "<h3>fashion_mnist</h3>" in text
        assert "<h3>fashion_mnist_size/64</h3>" in text


@pytest.mark.parametrize("kind, amounts", [("rotation", (0, 15, 30, 45))])
def test_shifts_are_drawn_from_the_clean_set_on(rows, monkeypatch, kind, amounts):
    kept = drawings(monkeypatch)
    curves.shift(result_set.Results(rows), kind, "fashion_mnist")
    for line, model in zip(kept[0].axes[0].get_lines(), MODELS, strict=True):
        names = [f"fashion_mnist_{kind}/{a}" if a else "fashion_mnist" for a in amounts]
        values = [100 * value(rows, model, name, "accuracy") for name in names]
        np.testing.assert_allclose(line.get_data(), [amounts, values])


def test_every_figure_has_an_alternative_text_axes_and_a_legend(page):
    images = re.findall(r'<img src="data:image/svg[^,]*,([^"]*)" alt="([^"]*)"', page)
    assert len(images) == page.count("<img") == 3 + 3 + 6
    for data, alt in images:
        svg = base64.b64decode(data).decode()
        for model in MODELS:
            assert f">{model}<" in svg
            assert model in alt
        assert re.search(r">(Accuracy \(%\)|NLL \(nats\)|ECE \(%\))<", svg)
        assert re.search(r">(Ensemble size|Severity|Rotation|Translation)[^<]*<", svg)


def test_definitions_are_those_of_the_functions(page):
    text = re.sub(r"</?code>", "`", html.unescape(page))
    for name, function in (("Brier", metrics.brier), ("ECE (%)", metrics.ece)):
        first = function.__doc__.splitlines()[0]
        assert f"<dt>{name}</dt><dd>{first}" in text
    for words in ("AUROC (%)", "FPR95 (%)", "`max_logit`: minus the largest"):
        assert words in text.partition('id="definitions"')[2]
    assert "Args:" not in text


def test_summaries_of_the_corruptions_take_the_place_of_means(tmp_path):
    rows = reports.benchmark(MODELS)
    for index, model in enumerate(MODELS):
        sums = {"mean_error": 0.2 + index / 10, "mean_nll": 0.5, "mcnll/resnet20": 101}
        sums |= {"mce/resnet20": 100.0 + index, "relative_mce/resnet20": 99}
        common = {"dataset": "fashion_mnist_c", "num_samples": 10}
        rows += [
            reports.row(model, metric=m, value=v, **common) for m, v in sums.items()
        ]
    page = write(rows, tmp_path)
    assert "mean of 20 corrupted sets" not in page
    assert "mCE to resnet20 (%)" in page
    lines = list(tables(page))
    assert [line[6:9] for line in lines[0]] == [
        [f"{20 + 10 * i}.00", "0.5000", f"{100 + i}.00"] for i in range(3)
    ]
    assert lines[2][0][3:] == ["20.00", "0.5000", "101.00", "100.00", "99.00"]
    text = html.unescape(page).partition('id="definitions"')[2]
    assert metrics.aggregate.__doc__.splitlines()[0] in text
    assert re.search(r"mean_error, mean_nll, mean_ece\n +The plain mean over", text)


def test_the_page_says_how_it_was_made(page):
    made = page.partition('id="made"')[2]
    assert "<code>zoo-evaluate --x=1</code>" in made
    for word in ("keras 3.", "Seed", "Commit", "UTC", "10,000 of each data set"):
        assert word in made
    # For each of 3 models: 1.5 s on 26 data sets, and 2.5 - 1.5 s on 2 others.
    assert "2 min 3 s" in made


def test_the_number_of_images_is_that_of_single_sets():
    rows = [
        reports.row(num_examples=1000),
        reports.row(dataset="fashion_mnist_c/fog/3", num_examples=250),
        reports.row(dataset="fashion_mnist_c", metric="mean_nll", num_examples=18_750),
        reports.row(dataset="fashion_mnist vs digits", num_examples=2797),
    ]
    made = about.provenance(result_set.Results(rows), "zoo-evaluate")
    assert made["Images"] == "250 to 1,000 of each data set"
    made = about.provenance(result_set.Results(rows[3:]), "zoo-evaluate")
    assert made["Images"] == "2,797 of each data set"


def test_means_and_boxes_are_over_the_same_sets_for_all_models(tmp_path, monkeypatch):
    rows = [
        r
        for r in reports.benchmark(MODELS)
        if "/" not in r["dataset"]
        or (r["model"] == "resnet20" and "_c/" in r["dataset"])
        or (r["model"] == "resnet20_mcdo" and "_c/fog/" in r["dataset"])
    ]
    kept = drawings(monkeypatch)
    headline = html_tables.headline(result_set.Results(rows))
    assert dict(headline.groups)["fashion_mnist, mean of 5 corrupted sets"] == 3
    for model, line in zip(MODELS[:2], headline.lines, strict=False):
        fog = [
            value(rows, model, f"fashion_mnist_c/fog/{s}", "nll") for s in range(1, 6)
        ]
        assert line[7].text == f"{np.mean(fog):.4f}"
    assert headline.lines[2][7].text == "-"
    boxes.charts(result_set.Results(rows), "fashion_mnist")
    box = kept[1].axes[0].patches[1].get_path().vertices[:, 1]
    fog = value(rows, "resnet20", "fashion_mnist_c/fog/1", "nll")
    np.testing.assert_allclose(box, fog)


def test_names_are_text_and_never_markup(tmp_path):
    name = "<b>&\"'</b><script>alert(1)</script>"
    rows = [
        reports.row(name, size, metric, 0.5, dataset=f"{name}{ending}")
        for size in (1, 2)
        for metric in ("nll", name)
        for ending in ("", "_c/fog/1", "_c/fog/2", f" vs {name}")
    ]
    page = write(rows, tmp_path, command=name)
    assert "<b>" not in page
    assert "alert(1)</script>" not in page
    assert page.count("<script>") == 1
    assert html.escape(name, quote=False)[:9] in page


def test_what_has_no_data_is_left_out(tmp_path):
    page = write([reports.row(), reports.row(metric="ece", value=math.nan)], tmp_path)
    assert set(re.findall(r'<section id="(\w+)"', page)) == {
        *("results", "values", "definitions", "made")
    }
    for name in re.findall(r'href="#(\w+)"', page):
        assert f'id="{name}"' in page
    assert "<img" not in page
    assert next(tables(page)) == [["resnet20", "1", "0.2500"]]
    assert "nan" not in page.partition("<script>")[0].lower()


def test_values_of_several_seeds_are_shown_with_their_deviation(tmp_path):
    rows = [reports.row(value=v, seed=s) for s, v in enumerate((0.1, 0.2, 0.3))]
    page = write(rows, tmp_path)
    assert next(tables(page)) == [["resnet20", "1", "0.2000 ± 0.1000"]]
    assert "<dt>Seeds</dt><dd>0, 1, 2</dd>" in page


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"needs rows.*rows=\[\]"):
        report.html([], None, tmp_path / "r.html")


def test_an_error_leaves_the_older_page_and_no_other_file(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    report.html([reports.row()], None, path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        report.html([reports.row()], None, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
