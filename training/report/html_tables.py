"""Tables of a page: cells that know their value, so that lines can be sorted."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

from training.metrics import display
from training.metrics.table import AGGREGATES, DRAWN, MAIN
from training.report.result_set import Results
from zoo.dataset_name import DatasetName


@dataclasses.dataclass(frozen=True)
class Field:
    """A cell: its text, what it is sorted by, and whether it is the best of all."""

    text: str
    value: float | str
    best: bool = False


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        heading: The names of the columns.
        lines: The cells.
        words: The number of columns on the left that hold words; a number N follows.
        groups: What the columns are about, and how many of them there are, if they are
            not all about the same.
    """

    heading: list[str]
    lines: list[list[Field]]
    words: int
    groups: Sequence[tuple[str, int]] = ()

    def looks(self, column: int) -> str:
        """Returns the style classes of a column."""
        ends = list(itertools.accumulate(width for _, width in self.groups))
        return " ".join(
            name
            for name, holds in {
                "first": column == 0,
                "word": column < self.words,
                "start": column in ends,
            }.items()
            if holds
        )


def headline(results: Results) -> Grid:
    """Returns a line for each model: clean, corrupted and out of distribution.

    Args:
        results: The values.
    """
    parts = []  # What, metric, the name of the column, values by model.
    for data in results.of_kind("clean"):
        for metric in sorted(MAIN, key=lambda name: name not in DRAWN):
            parts.append((str(data), metric, _of([data], results, metric)))
    for base in results.bases("corruption"):
        parts += _corrupted(results, base)
    for data in results.of_kind("detection"):
        metric = next((m for m in _DETECTION if m in results.metrics), "")
        parts.append((str(data), metric, _of([data], results, metric)))
    parts = [part for part in parts if any(map(_finite, part[2]))]
    heading = ["Model", "N", *(display.heading(metric) for _, metric, _ in parts)]
    groups = itertools.groupby(["", "", *(about for about, _, _ in parts)])
    cells = [_column(metric, values) for _, metric, values in parts]
    lines = [
        [_words(label), _count(results.size(model)), *line]
        for (model, label), *line in zip(results.labels().items(), *cells, strict=True)
    ]
    return Grid(heading, lines, 1, [(name, len(list(g))) for name, g in groups])


def values(results: Results, sets: Sequence[DatasetName]) -> Grid | None:
    """Returns a line for each data set and model, a column for each metric.

    Args:
        results: The values.
        sets: The data sets.

    Returns:
        The table, or None if there are no values.
    """
    keys = [
        (name, model)
        for name in map(str, sets)
        for model in results.models
        if any(results.seeds(model, name, metric) for metric in results.metrics)
    ]
    metrics = [
        metric
        for metric in results.metrics
        if any(results.seeds(model, name, metric) for name, model in keys)
    ]
    if not keys:
        return None
    labels = results.labels()
    cells = []
    for name, model in keys:
        seeds = [results.seeds(model, name, metric) for metric in metrics]
        words = [_words(name), _words(labels[model]), _count(results.size(model))]
        cells.append([*words, *map(_field, metrics, seeds)])
    heading = ["Data set", "Model", "N", *map(display.heading, metrics)]
    return Grid(heading, cells, 2)


def _corrupted(results, base):
    """Returns the summaries of the corruptions; without any, means over the sets."""
    sums = results.of_kind("aggregate", base)
    parts = [
        (str(data), metric, _of([data], results, metric))
        for data in sums
        for metric in results.metrics
        if metric in _SUMMARIES or metric.startswith("mce/")
    ]
    sets = results.corrupted(base)
    about = f"{base}, mean of {len(sets)} corrupted sets"
    if parts or not sets:
        return parts
    return [(about, metric, _of(sets, results, metric)) for metric in DRAWN]


def _of(sets, results, metric):
    """Returns for each model the values of its seeds, or the mean over several sets."""
    if len(sets) == 1:
        return [results.seeds(model, str(sets[0]), metric) for model in results.models]
    found = []
    for model in results.models:
        numbers = [results.value(model, str(data), metric) for data in sets]
        # A mean over other sets than the rest of the column would mislead.
        found.append([math.fsum(numbers) / len(numbers)])
    return found


def _column(metric, column):
    """Returns the cells of a metric, the best of them marked."""
    fields = [_field(metric, seeds) for seeds in column]
    way = display.better(metric)
    present = [way * f.value for f in fields if not isinstance(f.value, str)]
    if not way or len(present) < 2:
        return fields
    best = [f.text for f in fields if f.value != "" and way * f.value == max(present)]
    return [dataclasses.replace(f, best=f.text == best[0]) for f in fields]


def _field(metric, seeds):
    numbers = [value for value in seeds if math.isfinite(value)]
    mean = math.fsum(numbers) / len(numbers) if numbers else ""
    return Field(display.cell(metric, seeds), mean)


def _finite(numbers):
    return any(map(math.isfinite, numbers))


def _words(text):
    return Field(text, text)


def _count(number):
    return Field(str(number), number)


_SUMMARIES = tuple(mean for mean, _ in AGGREGATES.values())
# The first of these that was measured.
_DETECTION = ("auroc/entropy", "auroc/max_probability", "auroc")
