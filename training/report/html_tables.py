"""Tables of a page: cells that know their value, so that lines can be sorted."""

import dataclasses
import itertools
import math
import types
from collections.abc import Iterable, Sequence

from training.data import NEAR
from training.metrics import display
from training.metrics.table import AGGREGATES, DRAWN, MAIN, RANKING
from training.report.result_set import Results
from zoo.dataset_name import DatasetName


@dataclasses.dataclass(frozen=True)
class Field:
    """A cell.

    Attributes:
        text: What it says.
        value: What it is sorted by; None if that is its text.
        best: Whether it is the best of all.
        note: Words or a mark behind the text.
        title: What explains it.
        link: The address that its text leads to.
    """

    text: str
    value: float | str | None
    best: bool = False
    note: str = ""
    title: str = ""
    link: str = ""


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
    return _by_model(results, parts)


def ranked(results: Results) -> Grid | None:
    """Returns a line for each model: how good it is, and its own score.

    Columns are NLL, ECE, accuracy and rAULC on clean images and their means over all
    corrupted sets, and the AUROC against other data sets. rAULC and AUROC are those of
    the score that a model itself ranks by, which the line names.

    Args:
        results: The values.

    Returns:
        The table, or None if no model was evaluated by its own score.
    """
    if not results.ranks_by:
        return None
    parts = []  # As in `headline`.
    for data in results.of_kind("clean"):
        base, sets = str(data), results.corrupted(str(data))
        about = f"{base}, mean of {len(sets)} corrupted sets"
        for name, those in {base: [data], about: sets}.items():
            if those:
                parts += [(name, m, _of(those, results, m)) for m in _RANKED]
        for pair in results.of_kind("detection", base):
            about = f"{pair}{distance(base, pair.change)}"
            parts.append((about, "auroc", _of([pair], results, "auroc")))
    scores = [results.ranks_by.get(model, "-") for model in results.models]
    names = [name.replace("_", " ") for name in scores]
    return _by_model(results, parts, {"Score": names})


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
        if not display.of_class(metric)
        and any(results.seeds(model, name, metric) for name, model in keys)
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


def by_class(results: Results) -> Grid | None:
    """Returns a line for each clean data set, model and class, of metrics by class.

    Args:
        results: The values.

    Returns:
        The table, or None if there are no such metrics.
    """
    pairs = [pair for metric in results.metrics if (pair := display.of_class(metric))]
    stems, classes = (list(dict.fromkeys(pair[i] for pair in pairs)) for i in (0, 1))
    cells, labels = [], results.labels()
    for name in map(str, results.of_kind("clean")):
        for model, own in itertools.product(results.models, classes):
            seeds = [results.seeds(model, name, f"{stem}/{own}") for stem in stems]
            if any(seeds):
                words = [_words(text) for text in (name, labels[model], own)]
                words.append(_count(results.size(model)))
                cells.append([*words, *map(_field, stems, seeds)])
    if not cells:
        return None
    heading = ["Data set", "Model", "Class", "N", *map(display.heading, stems)]
    return Grid(heading, cells, 3)


def _by_model(results, parts, words=types.MappingProxyType({})):
    """Returns a line for each model; `words` are further columns behind its name."""
    parts = [part for part in parts if any(map(_finite, part[2]))]
    first = ["Model", *words, "N"]
    heading = [*first, *(display.heading(metric) for _, metric, _ in parts)]
    groups = spans([*("" for _ in first), *(about for about, *_ in parts)])
    columns = [list(map(_words, results.labels().values()))]
    columns += [list(map(_words, column)) for column in words.values()]
    columns.append([_count(results.size(model)) for model in results.models])
    columns += [_column(metric, values) for _, metric, values in parts]
    lines = list(map(list, zip(*columns, strict=True)))
    return Grid(heading, lines, 1 + len(words), groups)


def spans(names: Iterable[str]) -> list[tuple[str, int]]:
    """Returns names and how many equal ones stand side by side, as in a `Grid`."""
    return [(name, len(list(same))) for name, same in itertools.groupby(names)]


def distance(base: str, other: str) -> str:
    """Says whether a data set is near to another one, where that is known."""
    if base not in NEAR:
        return ""
    return " (near)" if other in NEAR[base] else " (far)"


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
    """Returns for each model the values of its seeds, or the mean over several sets.

    A metric that goes by a score is that by the model's own.
    """
    names = {model: results.own(model, metric) for model in results.models}
    if len(sets) == 1:
        return [results.seeds(model, str(sets[0]), names[model]) for model in names]
    found = []
    for model, name in names.items():
        numbers = [results.value(model, str(data), name) for data in sets]
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
# Of each model: how good its predictions are, and how well its own score ranks them.
_RANKED = ("nll", "ece", "accuracy", *RANKING)
