"""What becomes of findings: one file of rows, figures, and a page of models beside."""

import datetime
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Mapping, Sequence

import keras

from training.analysis import ANALYSES, charts, store
from training.analysis.base import Finding
from training.report import figures
from training.report import page as report_page
from training.report import rows as report_rows
from training.report.figures import Chart
from training.report.html_tables import Field, Grid
from training.report.page import Group
from training.versions import versions

PAGE, ROWS = "report.html", "rows.jsonl"
# What tells rows of a metric apart, in the order of a table.
_WHERE = (
    *("layer", "of_layer", "of", "bypass", "noise", "low", "high", "batch", "index"),
    *("rank", "quantile", "radius", "path", "t", "x", "y", "alpha", "beta"),
    *("load", "temperature"),
)
_LONGEST = 100  # Lines of a table of a page; longer ones are in the files alone.


def write(folder: str | os.PathLike, order: Sequence[str] = ()) -> list[pathlib.Path]:
    """Writes rows, figures and the page of all findings of a folder.

    Args:
        folder: The folder of the results.
        order: Names of models, in their order on the page.

    Returns:
        The paths of the page, the rows and the figures; none without findings.
    """
    folder, found = pathlib.Path(folder), {}
    for place, finding in store.all_places(folder):
        if place.analysis in ANALYSES:
            of_data = found.setdefault(place.analysis, {}).setdefault(place.dataset, {})
            of_data[place.model] = finding
    if not found:
        return []
    found = {
        name: {data: _ordered(of_data, order) for data, of_data in found[name].items()}
        for name in ANALYSES
        if name in found
    }
    paths, sections, rows = [folder / PAGE, folder / ROWS], [], []
    for name, by_data in found.items():
        groups, tables = [], {}
        for dataset, findings in by_data.items():
            drawn = ANALYSES[name].plot(findings)
            charts = []
            for title, figure in drawn.items():
                path = folder / "figures" / f"{_slug(name, dataset, title)}.png"
                figures.save_figure(figure, path)
                paths.append(path)
                charts.append(_chart(title, figure, findings))
            groups.append(Group(dataset, charts))
            tables |= _tables(dataset, findings)
            rows += [row for finding in findings.values() for row in finding.rows]
        sections.append((name, ANALYSES[name], groups, tables))
    report_rows.write_rows(rows, paths[1])
    content = {
        "sections": sections,
        "models": _models(found, order),
        "provenance": _provenance(rows),
    }
    report_rows.write_text(report_page.render("analysis.html", content), paths[0])
    return paths


def _models(found, order):
    names = {
        row["model"]: None
        for by_data in found.values()
        for findings in by_data.values()
        for finding in findings.values()
        for row in finding.rows[:1]
        if "first" not in row
    }
    return list(order) or list(names)


def _ordered(findings: Mapping[str, Finding], order) -> dict[str, Finding]:
    """Returns findings in the order of the models that a pair begins and ends with."""

    def place(name):
        known = [i for own in name.split(" and ") for i in _index(order, own)]
        return known or [len(order)]

    return {name: findings[name] for name in sorted(findings, key=place)}


def _index(order, name):
    return [order.index(name)] if name in order else []


def _slug(*words) -> str:
    return re.sub(r"\W+", "_", "_".join(words)).strip("_").lower()


def _chart(title, figure, findings):
    words = f"{title}: of {', '.join(findings)}."
    is_wide = figure.get_figwidth() > 5
    return Chart(title, words, figures.data_uri(figure), is_wide=is_wide)


def _tables(dataset, findings: Mapping[str, Finding]) -> dict[str, Grid]:
    """Returns a table for each metric, of which models are the columns."""
    values = {}
    for model, finding in findings.items():
        for row in finding.rows:
            where = tuple((key, row[key]) for key in _WHERE if key in row)
            lines = values.setdefault(row["metric"], {})
            lines.setdefault(where, {})[model] = row["value"]
    tables = {}
    for metric, lines in values.items():
        if len(lines) <= _LONGEST:
            given = [[w for w in lines if model in lines[w]] for model in findings]
            order = charts.aligned([own for own in given if own]) or list(lines)
            body = [_line(where, lines[where], findings) for where in order]
            grid = Grid(["", *findings], body, words=1)
            tables[f"{metric.replace('_', ' ')} on {dataset}"] = grid
    return tables


def _line(where, found, models):
    said = ", ".join(
        _text(value) if key == "layer" else f"{key} {_text(value)}"
        for key, value in where
    )
    cells = [Field(said or "all", said)]
    for model in models:
        known = model in found
        cells.append(
            Field(_text(found[model]) if known else "", found[model] if known else "")
        )
    return cells


def _text(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _provenance(rows):
    def of(key):
        return ", ".join(map(str, dict.fromkeys(row[key] for row in rows)))

    now = datetime.datetime.now(datetime.UTC)
    command = [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "Command": shlex.join(command),
        "Seed": of("seed"),
        "Commit": of("commit"),
        "Versions": ", ".join(versions()),
        "Backend": f"{of('backend')}; this page: {keras.backend.backend()}",
        "Images": of("num_examples"),
        "Date": now.strftime("%Y-%m-%d %H:%M UTC"),
    }
