"""The tables of a leaderboard: a line for each model and number of passes."""

import dataclasses
import functools
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from training import metrics
from training.corruptions import BENCHMARK, CORRUPTIONS, SEVERITIES
from training.data import NEAR
from training.metrics import display
from training.metrics.table import METRICS, RANKING, SETS, Metric
from training.report.html_tables import distance
from training.report.leaderboard import admission
from training.report.leaderboard.admission import QUALITIES
from training.report.leaderboard.pareto import front
from training.report.leaderboard.sources import unsized
from zoo import dataset_name, registry
from zoo.dataset_name import DatasetName

# What a line costs, by the field of its rows.
COSTS = {
    cost.name: cost
    for cost in (
        Metric("bytes", "Size (MB)", factor=1e-6, digits=2, better=-1),
        Metric("latency_ms", "Latency (ms)", digits=2, better=-1),
        Metric("time_ms", "Evaluation (ms an image)", digits=3, better=-1),
        Metric("multiply_adds", "Multiply-adds (M)", factor=1e-6, digits=1, better=-1),
    )
}
COST = "cost"  # Above these columns.
_KINDS = ("clean", "corruption", "rotation", "translation", "sequence", "detection")
# A score that an AUROC is by, where a model has none of its own, the first one is best.
_SCORES = ("entropy", "max_probability", "mutual_information", "energy", "max_logit")


@dataclasses.dataclass(frozen=True)
class Column:
    """What a column of a board has.

    Attributes:
        group: What its values are of: a clean data set, a mean over corrupted ones, a
            detection, or `COST`.
        metric: Name of the metric, or a key of `COSTS`.
        rank: The place among the other columns.
    """

    group: str
    metric: str
    rank: tuple = dataclasses.field(compare=False)

    @property
    def shown(self) -> Metric:
        """How it is shown."""
        if self.metric in COSTS:
            return COSTS[self.metric]
        found = METRICS[self.metric.partition("/")[0]]
        return dataclasses.replace(found, heading=display.heading(self.metric))


@dataclasses.dataclass(frozen=True)
class Value:
    """A value of a line.

    Attributes:
        mean: Over the trainings, each of which is a mean over the seeds of its passes.
        deviation: The standard deviation over the trainings, or over the seeds of the
            passes where there is one training; None of a single value.
        count: How many there are.
        images: Of how many images; None if that is not known.
        is_comparable: Whether it is of as many images as the others of its column, and
            of a model that was not chosen on test images. Others are no best values and
            on no front.
    """

    mean: float
    deviation: float | None = None
    count: int = 1
    images: int | None = None
    is_comparable: bool = True


@dataclasses.dataclass(frozen=True)
class Line:
    """A model at a number of passes.

    Attributes:
        model: Its name, without the seeds of trainings.
        variant: What else tells it from others: the size of the images, the precision.
        passes: Forward passes that a prediction is the mean of.
        trainings: The names of its trainings.
        seeds: How many seeds of the passes there are.
        values: By column.
        by_set: Values of single data sets by their name and metric.
        missing: What some of its rows do not carry; see
            `training.report.leaderboard.admission.missing`.
        choices: On what choices were made, as the rows have it.
        commits: The commits of the rows.
        cards: URLs of model cards, or names behind `zoo:`.
        is_largest: Whether the model has no line with more passes.
    """

    model: str
    variant: str
    passes: int
    trainings: tuple[str, ...]
    seeds: int
    values: Mapping[Column, Value]
    by_set: Mapping[tuple[str, str], Value]
    missing: tuple[str, ...]
    choices: tuple[str, ...]
    commits: tuple[str, ...]
    cards: tuple[str, ...]
    is_largest: bool = True

    def value(self, column: Column | None) -> float:
        """Returns what is compared of a column, NaN if nothing is.

        Args:
            column: One of its board, or None for the number of passes.
        """
        if column is None:
            return self.passes
        found = self.values.get(column)
        return found.mean if found is not None and found.is_comparable else math.nan


@dataclasses.dataclass(frozen=True)
class Board:
    """A table about one clean data set and what is derived from it.

    Attributes:
        name: Name of the data set.
        columns: What its lines have, some or all of them.
        lines: From the lowest NLL on.
    """

    name: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    def front(self, quality: Column, cost: Column | None) -> list[Line]:
        """Returns the lines that no other one dominates, from the lowest cost on.

        Args:
            quality: A column.
            cost: Another one, or None for the number of passes.
        """
        points = [(line.value(cost), line.value(quality)) for line in self.lines]
        signs = (cost.shown.better if cost else -1), quality.shown.better
        are_on = front(points, signs)
        on = [line for line, is_on in zip(self.lines, are_on, strict=True) if is_on]
        return sorted(on, key=lambda line: -signs[0] * line.value(cost))


def build(rows: Iterable[Mapping], references: Sequence[str] = ()) -> list[Board]:
    """Returns a table for each clean data set of the rows, in their order.

    Where the values of a model do not depend on the number of passes it has one line,
    of one pass. Images of other sizes are of the same data set.

    Args:
        rows: Rows of `training.report.leaderboard.sources.read`. Those of attacks are
            left out, whose images are of one model alone.
        references: Models whose errors are 100 in the mCE of the others. By default
            that of a data set is the first deterministic model with all corruptions.

    Raises:
        ValueError: If there are no rows of the metrics of a leaderboard, or a reference
            has no errors of all corruptions, or several.
    """
    rows, groups = list(rows), {}
    for row in rows:
        placed = _Placed.of(row)
        if placed.name.kind in _KINDS and admission.is_shown(row["metric"]):
            groups.setdefault(str(placed.name.clean), []).append(placed)
    if not groups:
        raise ValueError(
            "None of the rows has a metric of a leaderboard: "
            f"{', '.join(QUALITIES)}. Received: rows of "
            f"{', '.join(dict.fromkeys(r['metric'] for r in rows)) or 'nothing'}"
        )
    tables = {name: _Table(name, placed) for name, placed in groups.items()}
    for reference in references:
        if not any(table.has(reference) for table in tables.values()):
            known = dict.fromkeys(n for table in tables.values() for n in table.errors)
            raise ValueError(
                f"The reference of an mCE needs its accuracy under all {len(BENCHMARK)}"
                f" corruptions at all severities. Received: reference={reference}; "
                f"these have it: {', '.join(known) or 'none'}"
            )
    found = [table.board(references) for table in tables.values()]
    if not any(board.lines for board in found):
        raise ValueError(
            "A leaderboard needs values of clean images, of corrupted ones or of a "
            f"detection. Received: rows of {', '.join(groups)} of other kinds"
        )
    return [board for board in found if board.lines]


@dataclasses.dataclass(frozen=True)
class _Placed:
    """A row and the line it belongs to."""

    row: Mapping
    name: DatasetName  # Without image sizes.
    model: str
    variant: str
    passes: int

    @classmethod
    def of(cls, row):
        name, model, variant = _place(
            row["model"], row["dataset"], row.get("precision")
        )
        return cls(row, name, model, variant, row["num_samples"])

    @property
    def run(self):
        return self.row["model"], self.row.get("seed")


@functools.lru_cache(maxsize=100_000)
def _place(model, dataset, precision) -> tuple[DatasetName, str, str]:
    """Returns the data set without sizes, and what the lines of a model are called."""
    name = dataset_name.parse(dataset)
    variant = [f"images of {v} pixels" for kind, v in name.changes if kind == "size"]
    variant += [precision] if precision else []
    stem, at, posterior = model.partition("@")
    own = f"{registry.split_seed(stem)[0]}{at}{posterior}"
    return unsized(name), own, ", ".join(variant)


class _Table:
    """The rows of a board by line, data set, metric, training and seed."""

    def __init__(self, name: str, placed: Sequence[_Placed]):
        self.name, self._labels = name, {}
        for sets in (_ALL, _BENCHMARK):  # What rows of means are taken to be over.
            self._label(sets)
        self._most = {}  # The passes that the time of a row is the one of.
        for one in placed:
            key = *one.run, one.row["dataset"], one.variant
            self._most[key] = max(self._most.get(key, 0), one.passes)
        self.lines = {}
        self._once = _deterministic(placed)
        for one in self._each_once(placed):
            key = one.model, one.variant, one.passes
            cells = self.lines.setdefault(key, {})
            runs = cells.setdefault((one.name, one.row["metric"]), {})
            training, seed = one.run
            runs.setdefault(training, {})[seed] = one
        self.errors = {}  # Of all corruptions, by the names of trainings.
        for row in self._errors():
            self.errors.setdefault(row["model"], []).append(row)

    def _each_once(self, placed):
        """Yields rows, of a deterministic model one in place of each number."""
        seen = {}
        for one in placed:
            if (one.model, one.variant) not in self._once:
                yield one
                continue
            key = *one.run, one.variant, one.row["dataset"], one.row["metric"]
            if key not in seen or one.passes < seen[key].passes:
                seen[key] = one
        yield from (dataclasses.replace(one, passes=1) for one in seen.values())

    def board(self, references) -> Board:
        """Returns the table."""
        mce = self._mce(references)
        found = {
            key: {**self._values(key, cells), **mce.get(key, {})}
            for key, cells in self.lines.items()
        }
        columns = sorted({c for v in found.values() for c in v}, key=lambda c: c.rank)
        most = {
            column: max(v[column].images or 0 for v in found.values() if column in v)
            for column in columns
        }
        lines = [
            self._line(key, cells, found[key], most)
            for key, cells in self.lines.items()
            if found[key]
        ]
        if not columns:
            return Board(self.name, (), ())
        first = next((c for c in columns if c.metric == "nll"), columns[0])
        sign = -first.shown.better or 1
        lines.sort(key=lambda line: _last(line.values.get(first), sign))
        return Board(self.name, tuple(columns), tuple(lines))

    def _line(self, key, cells, values, most):
        model, variant, passes = key
        rows = [one.row for runs in cells.values() for one in _all(runs)]
        on_test = any(map(admission.is_chosen_on_test, rows))

        def compared(column, value):
            is_whole = value.images is None or value.images == most[column]
            return dataclasses.replace(value, is_comparable=is_whole and not on_test)

        sizes = [n for m, v, n in self.lines if (m, v) == (model, variant)]
        return Line(
            model=model,
            variant=variant,
            passes=passes,
            trainings=_distinct(row["model"] for row in rows),
            seeds=len({row.get("seed") for row in rows}),
            values={column: compared(column, v) for column, v in values.items()},
            by_set={
                (str(name), metric): _value(_numbers(runs))
                for (name, metric), runs in cells.items()
                if name.kind != "detection"
            },
            missing=admission.missing(rows),
            choices=_distinct(row.get("chosen_on") for row in rows),
            commits=_distinct(row.get("commit") for row in rows),
            cards=_distinct(row.get("card") for row in rows),
            is_largest=passes == max(sizes),
        )

    def _values(self, key, cells) -> dict[Column, Value]:
        """Returns the values of a line but for its mCE."""
        own = _own_score(cells)
        found = {}  # By column, the runs that have it in the order of preference.
        for (name, metric), runs in cells.items():
            column = self._column(name, metric)
            if column:
                preference = _preference(metric, own)
                found.setdefault(column, {})[1, preference] = _numbers(runs)
        for (label, count, metric), runs in self._means(cells).items():
            column = _mean_column(label, count, metric)
            found.setdefault(column, {})[0, _preference(metric, own)] = runs
        values = {column: _value(alike[min(alike)]) for column, alike in found.items()}
        return {**values, **self._costs(key, cells)}

    def _column(self, name, metric) -> Column | None:
        stem, _, _ = metric.partition("/")
        shown = metric if stem in SETS else stem
        place = QUALITIES.index(stem)
        if name.kind == "detection":
            if stem != "auroc":
                return None
            is_near = name.other in NEAR.get(self.name, ())
            group = f"against {name.other}{distance(self.name, name.other)}"
            return Column(group, shown, (3, not is_near, name.other, place, shown))
        if name.kind == "clean":
            return Column(self.name, shown, (0, place, shown))
        if name.kind == "corruption" and name.shift[1] == "*/*":
            count = name.count or 1
            return _mean_column(f"mean of {count} corrupted sets", count, metric)
        return None

    def _means(self, cells):
        """Returns means over the corrupted sets that all runs of a line have.

        They are by the words for these sets, how many they are, and the metric.
        """
        by_metric = {}
        for (name, metric), runs in cells.items():
            if name.kind == "corruption" and not name.is_mean:
                for one in _all(runs):
                    by_run = by_metric.setdefault(metric, {}).setdefault(one.run, {})
                    by_run[name.change, int(name.amount)] = one
        found = {}
        for metric, by_run in by_metric.items():
            common = frozenset.intersection(*map(frozenset, by_run.values()))
            if not common:
                continue
            runs = {}
            for (training, seed), sets in by_run.items():
                rows = [sets[place].row for place in sorted(common)]
                mean = statistics.fmean(row["value"] for row in rows)
                runs.setdefault(training, {})[seed] = mean, _sum(rows)
            found[self._label(common), len(common), metric] = runs
        return found

    def _label(self, sets):
        """Returns words for a number of corrupted sets, others for other sets."""
        if sets not in self._labels:
            text = f"mean of {len(sets)} corrupted sets"
            alike = sum(len(sets) == len(other) for other in self._labels)
            self._labels[sets] = f"{text}, choice {alike + 1}" if alike else text
        return self._labels[sets]

    def _errors(self):
        """Yields rows of accuracies that `training.metrics.aggregate` takes.

        The mean over the severities of a corruption stands for each of them, as the
        mCE is of sums over the severities.
        """
        for key, cells in self.lines.items():
            by_run = {}
            for (name, metric), runs in cells.items():
                if metric != "accuracy" or name.kind != "corruption":
                    continue
                if name.change not in BENCHMARK:
                    continue
                if not name.is_mean:
                    amounts = (int(name.amount),)
                else:
                    amounts = SEVERITIES if name.count == len(SEVERITIES) else ()
                for one in _all(runs):
                    places = by_run.setdefault(one.run, {})
                    for amount in amounts:
                        shared = (one.row.get("num_examples") or 0) // len(amounts)
                        place, pair = (name.change, amount), (one.row, shared)
                        if name.is_mean:  # Single sets go before a mean over them.
                            places.setdefault(place, pair)
                        else:
                            places[place] = pair
            for (training, seed), places in by_run.items():
                if places.keys() == _BENCHMARK:
                    yield from _of_grid(self.name, key, training, seed, places)

    def _mce(self, references) -> dict[tuple, dict[Column, Value]]:
        """Returns the mCE by line, against the first of the references that is here."""
        reference = self._reference(references)
        if reference is None:
            return {}
        rows = list(itertools.chain.from_iterable(self.errors.values()))
        found = {}
        for row in metrics.aggregate(rows, reference):
            if row["metric"] == f"mce/{reference}" and math.isfinite(row["value"]):
                training, *key = row["line"]
                runs = found.setdefault(tuple(key), {}).setdefault(training, {})
                runs[row["seed"]] = row["value"], row["num_examples"] or None
        column = Column(f"corrupted, {reference} is 100", "mce", (2,))
        return {key: {column: _value(runs)} for key, runs in found.items()}

    def has(self, reference: str) -> bool:
        """Returns whether the errors of a reference are known."""
        is_published = reference == metrics.PUBLISHED
        return self.name in _PUBLISHED_FOR if is_published else reference in self.errors

    def _reference(self, references) -> str | None:
        references = references or [metrics.PUBLISHED]
        if given := next(filter(self.has, references), None):
            return given if self.errors else None
        is_one = (name for name, rows in self.errors.items() if _agree(rows))
        return next(is_one, None)

    def _costs(self, key, cells) -> dict[Column, Value]:
        numbers = {cost: {} for cost in COSTS}
        for (name, _), runs in cells.items():
            for one in _all(runs):
                training, _ = one.run
                for cost in admission.COSTS:
                    if one.row.get(cost):
                        numbers[cost].setdefault(training, one.row[cost])
                if str(name) == self.name and (time := self._time(one, key)):
                    numbers["time_ms"].setdefault(training, time)
        return {
            Column(COST, cost, (9, place)): Value(statistics.fmean(found.values()))
            for place, (cost, found) in enumerate(numbers.items())
            if found
        }

    def _time(self, one, key) -> float | None:
        """Returns how long the passes of an image took, as the rows have it."""
        seconds, count = one.row.get("seconds"), one.row.get("num_examples")
        if not seconds or not count:
            return None
        most = self._most[*one.run, one.row["dataset"], one.variant]
        is_once = key[:2] in self._once
        return 1000 * seconds / count * (1 if is_once else one.passes / most)


def _mean_column(label, count, metric):
    stem = metric.partition("/")[0]
    shown = metric if stem in SETS else stem
    return Column(label, shown, (1, -count, label, QUALITIES.index(stem), shown))


def _of_grid(base, key, training, seed, places):
    model, variant, passes = key
    for (change, amount), (row, count) in places.items():
        yield {
            "model": f"{training} ({variant})" if variant else training,
            "dataset": f"{base}_c/{change}/{amount}",
            "num_samples": passes,
            "metric": "accuracy",
            "value": row["value"],
            "num_examples": count,
            "seed": seed,
            "source": row.get("source", ""),
            "line": (training, model, variant, passes),
        }


def _agree(rows):
    """Returns whether rows of one pass are all there are, the same for all seeds."""
    by_set = {}
    for row in rows:
        by_set.setdefault(row["dataset"], set()).add(row["value"])
    is_one = all(row["num_samples"] == 1 for row in rows)
    return is_one and all(len(values) == 1 for values in by_set.values())


def _deterministic(placed) -> set[tuple[str, str]]:
    """Returns the models whose values were seen not to depend on the passes."""
    found = {}
    for one in placed:
        key = *one.run, one.row["dataset"], one.row["metric"]
        by_size = found.setdefault((one.model, one.variant), {}).setdefault(key, {})
        by_size[one.passes] = one.row["value"]
    return {
        model
        for model, values in found.items()
        if any(len(by_size) > 1 for by_size in values.values())
        and all(len(set(by_size.values())) == 1 for by_size in values.values())
    }


def _own_score(cells) -> str | None:
    """Returns the score that a model ranks by, if it was evaluated by that."""
    for _, metric in cells:
        stem, _, score = metric.partition("/")
        if stem in RANKING and score:
            return score
    return None


def _preference(metric, own) -> int:
    """Returns the place of a metric among those that one column may have."""
    stem, _, score = metric.partition("/")
    if stem in SETS or not score:
        return 1
    if score == own:
        return 0
    return 2 + (_SCORES.index(score) if score in _SCORES else len(_SCORES))


def _numbers(runs):
    return {
        training: {
            seed: (one.row["value"], one.row.get("num_examples"))
            for seed, one in seeds.items()
        }
        for training, seeds in runs.items()
    }


def _value(runs: Mapping[str, Mapping]) -> Value:
    """Returns the mean and the deviation of pairs of a value and a number of images.

    Args:
        runs: By training and by seed of the passes.
    """
    by_training = [[value for value, _ in seeds.values()] for seeds in runs.values()]
    means = [statistics.fmean(values) for values in by_training]
    several = means if len(means) > 1 else by_training[0]
    counts = [count for seeds in runs.values() for _, count in seeds.values()]
    return Value(
        statistics.fmean(means),
        statistics.stdev(several) if len(several) > 1 else None,
        len(several),
        None if None in counts else min(counts),
    )


def _sum(rows):
    counts = [row.get("num_examples") for row in rows]
    return None if None in counts else sum(counts)


def _all(runs):
    return (one for seeds in runs.values() for one in seeds.values())


def _distinct(values):
    return tuple(dict.fromkeys(value for value in values if value))


def _last(value, sign):
    """Returns a key that sorts by the values, those without one last."""
    return (value is None, sign * value.mean if value else 0)


# Whose errors of AlexNet are published.
_PUBLISHED_FOR = ("imagenet", "imagenet2012")
_ALL = frozenset(itertools.product(CORRUPTIONS, SEVERITIES))
_BENCHMARK = frozenset(itertools.product(BENCHMARK, SEVERITIES))
