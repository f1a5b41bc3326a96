"""The benchmark in tables and a figure: what a page of text has room for."""

import collections
import pathlib
import statistics
from collections.abc import Iterable, Mapping

from benchmarks.results import documents
from training import report
from training.metrics import display
from training.metrics.table import DRAWN
from zoo import dataset_name

_DETECTION = "auroc/entropy"
_GROUPS = {
    "clean": "clean",
    "corruption": "corrupted",
    "rotation": "rotated",
    "translation": "translated",
}


def write(
    rows: Iterable[Mapping], base: str, path: pathlib.Path
) -> tuple[pathlib.Path, pathlib.Path]:
    """Puts the tables between the marks of a document, and the box plots beside it.

    Args:
        rows: Rows of `training.evaluation.sweep.evaluate_all`.
        base: Name of the clean test set.
        path: The document, with the marks of `benchmarks.results.documents`.

    Returns:
        The paths of the document and of the figure, `severity.png`.
    """
    rows, figure = list(rows), path.with_name("severity.png")
    documents.replace(path, page(rows, base))
    report.plot_severity(rows, base, figure)
    return path, figure


def page(rows: Iterable[Mapping], base: str) -> str:
    """Returns the tables of a benchmark, as Markdown.

    Args:
        rows: Rows of `training.evaluation.sweep.evaluate_all`.
        base: Name of the clean test set.
    """
    rows = list(rows)
    parts = [by_group(rows, base)]
    evaluated = {row["metric"] for row in rows}
    for metric in filter(evaluated.__contains__, DRAWN):
        largest = max(row["num_samples"] for row in rows)
        what = f"{display.heading(metric)}, N = {largest}"
        text = f"Mean over the severities of each corruption, {what}:"
        parts += [text + "\n", by_corruption(rows, base, metric)]
    return "\n" + "\n".join(parts) + "\n"


def by_group(rows: Iterable[Mapping], base: str) -> str:
    """Returns means over all corrupted, rotated and translated sets, as Markdown.

    Args:
        rows: Rows of `training.evaluation.sweep.evaluate_all`.
        base: Name of the clean test set.

    Returns:
        A line for each model and ensemble size; a deterministic model has one.
        The last columns are the AUROC of the entropy for out-of-distribution sets.
        What was not evaluated is a dash.
    """
    values, outside = collections.defaultdict(list), {}
    for row in rows:
        line = row["model"], row["num_samples"]
        name = dataset_name.parse(row["dataset"])
        if name.kind == "detection" and row["metric"] == _DETECTION:
            outside.setdefault(name.other, {})[line] = [row["value"]]
        is_own = str(name.clean) == base and name.kind in _GROUPS
        if is_own and row["metric"] in DRAWN:
            values[line, name.kind, row["metric"]].append(row["value"])
    columns = [(kind, metric) for kind in _GROUPS for metric in DRAWN]
    columns = [c for c in columns if any(key[1:] == c for key in values)]
    titles = [f"{_GROUPS[kind]}: {display.heading(m)}" for kind, m in columns]
    titles += [f"AUROC against {other} (%)" for other in outside]
    lines = {}
    for line in dict.fromkeys(line for line, *_ in values):
        cells = [_text(m, values.get((line, kind, m))) for kind, m in columns]
        cells += [_text(_DETECTION, found.get(line)) for found in outside.values()]
        lines.setdefault((line[0], *cells), line)
    body = [[f"`{m}`", str(n), *cells] for (_, *cells), (m, n) in lines.items()]
    return markdown(["model", "N", *titles], body, words=1)


def by_corruption(rows: Iterable[Mapping], base: str, metric: str) -> str:
    """Returns means over severities of the largest ensembles, as Markdown.

    Args:
        rows: Rows of `training.evaluation.sweep.evaluate_all`.
        base: Name of the clean test set.
        metric: A key of `training.metrics.CLASSIFICATION`.

    Returns:
        A line for each corruption, a column for each model.
    """
    found = []
    for row in rows:
        name = dataset_name.parse(row["dataset"])
        is_own = name.kind == "corruption" and str(name.clean) == base
        if is_own and row["metric"] == metric:
            found.append((name.change, row))
    largest = max(row["num_samples"] for _, row in found)
    values = collections.defaultdict(list)
    for corruption, row in found:
        if row["num_samples"] == largest:
            values[corruption, row["model"]].append(row["value"])
    models = list(dict.fromkeys(model for _, model in values))
    names = dict.fromkeys(name for name, _ in values)
    body = [
        [name, *(_text(metric, values.get((name, m))) for m in models)]
        for name in names
    ]
    return markdown(["corruption", *(f"`{model}`" for model in models)], body, 1)


def _text(metric, values):
    """Returns the mean of values, or a dash for none."""
    return display.number(metric, statistics.fmean(values)) if values else "-"


def markdown(heading: list[str], body: list[list[str]], words: int) -> str:
    """Returns a Markdown table whose first `words` columns are of words."""
    rule = ["---"] * words + ["---:"] * (len(heading) - words)
    return "".join(f"| {' | '.join(line)} |\n" for line in (heading, rule, *body))
