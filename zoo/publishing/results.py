"""Measured results: what a card keeps of an evaluation, and its table."""

import dataclasses
import json
import math
import statistics
import types
from collections.abc import Callable, Iterable, Mapping, Sequence

from zoo import dataset_name
from zoo.model_name import read_posterior
from zoo.presets import posterior_file
from zoo.registry import join_seed, parse, split_posterior, split_seed

FIELDS = ("dataset", "num_samples", "metric", "value", "num_examples", "seed")
# The settings of an attack, which its name does not tell.
ATTACK_SETTINGS = ("steps", "step_size", "restarts", "draws")
# Which images of a set were taken, if not all or the first, and how many left out;
# and what a posterior or decision has adapted to, if not to all.
OPTIONAL = ("selection", "excluded", "adapted_to", *ATTACK_SETTINGS)


@dataclasses.dataclass(frozen=True)
class CardMetrics:
    """Which metrics a card has; all the others stay in `results.jsonl`.

    Attributes:
        shows: From the name of a metric to whether a card has it of each data set.
        shows_mean: The same of its mean over the sets that are derived from another
            one, of which a card has nothing else.
    """

    shows: Callable[[str], bool]
    shows_mean: Callable[[str], bool]


ALL_METRICS = CardMetrics(lambda name: True, lambda name: True)


def check_rows(rows: Iterable[Mapping]) -> list[dict]:
    """Returns rows with the fields that a preset keeps.

    A metric that is not defined, such as a share of no examples, is left out.

    Args:
        rows: Rows of an evaluation, with `FIELDS` and maybe others.

    Raises:
        ValueError: If a row lacks a field.
    """
    kept = []
    for row in rows:
        missing = [field for field in FIELDS if field not in row]
        if missing:
            raise ValueError(
                f"A row of results has no {missing[0]}; each has "
                f"{', '.join(FIELDS)}. Received: row={dict(row)}"
            )
        if row["value"] is not None and math.isfinite(row["value"]):
            some = {field: row[field] for field in OPTIONAL if row.get(field)}
            kept.append({field: row[field] for field in FIELDS} | some)
    return kept


def select(rows: Iterable[Mapping], metrics: CardMetrics = ALL_METRICS) -> list[dict]:
    """Returns what a card has room for.

    Of corrupted, rotated, translated and perturbed sets these are only the `means`. A
    selection is selected as it is.

    Args:
        rows: Rows of one model, with `FIELDS`.
        metrics: Those of a card.
    """
    rows = list(rows)
    kept = [
        dict(row)
        for row in rows
        if (metrics.shows(row["metric"]) or is_mean(row)) and not _is_shifted(row)
    ]
    return kept + means(rows, metrics)


def _is_shifted(row) -> bool:
    """Returns whether a row is of one set whose images are shifted."""
    name = dataset_name.parse(row["dataset"])
    return name.is_shifted and not name.is_mean


def means(rows: Iterable[Mapping], metrics: CardMetrics = ALL_METRICS) -> list[dict]:
    """Returns means over the sets that are derived from another one.

    Args:
        rows: Rows of one model, with `FIELDS`.
        metrics: Those of a card.

    Returns:
        Rows whose `dataset` says over which sets and how many, `"d_c/*/* (95 sets)"`,
        and whose `num_examples` is the sum over them; for the largest number of passes
        also one for each corruption, `"d_c/fog/* (5 sets)"`.
    """
    shifted = [
        row for row in rows if metrics.shows_mean(row["metric"]) and _is_shifted(row)
    ]
    largest = max((row["num_samples"] for row in shifted), default=0)
    groups = {}
    for row in shifted:
        for pattern in _patterns(row["dataset"], row["num_samples"] == largest):
            key = _MeanKey(
                pattern=pattern,
                num_samples=row["num_samples"],
                metric=row["metric"],
                seed=row["seed"],
                optional=tuple((k, row[k]) for k in OPTIONAL if row.get(k)),
            )
            groups.setdefault(key, []).append(row)
    # Over all sets first, then over severities.
    ordered = sorted(groups.items(), key=lambda item: -str(item[0].pattern).count("*"))
    return [_mean(key, members) for key, members in ordered]


@dataclasses.dataclass(frozen=True)
class _MeanKey:
    """What the rows of one mean have in common."""

    pattern: dataset_name.DatasetName
    num_samples: int
    metric: str
    seed: int
    optional: tuple[tuple[str, object], ...]  # Those of `OPTIONAL` that they have.


def _patterns(dataset, parted) -> list[dataset_name.DatasetName]:
    name = dataset_name.parse(dataset)
    first, *others = name.shift[1].split("/")
    patterns = [name.shifted("/".join("*" for _ in (first, *others)))]
    if parted and others:  # Over the severities of a corruption, too.
        patterns.append(name.shifted(f"{first}/*"))
    return patterns


def _mean(key: _MeanKey, rows) -> dict:
    count = len({row["dataset"] for row in rows})
    return {
        "dataset": str(dataclasses.replace(key.pattern, count=count)),
        "num_samples": key.num_samples,
        "metric": key.metric,
        "value": statistics.fmean(row["value"] for row in rows),
        "num_examples": sum(row["num_examples"] for row in rows),
        "seed": key.seed,
        **dict(key.optional),
    }


def num_sets(row: Mapping) -> int:
    """Returns over how many sets a row is a mean; 1 for that of a single set."""
    return dataset_name.parse(row["dataset"]).count or 1


def is_mean(row: Mapping) -> bool:
    """Returns whether a row is one of `means`."""
    return dataset_name.parse(row["dataset"]).is_mean


def is_detection(row: Mapping) -> bool:
    """Returns whether a row is one of out-of-distribution detection."""
    return dataset_name.parse(row["dataset"]).kind == "detection"


def is_part(row: Mapping) -> bool:
    """Returns whether a row is a mean over a part of the sets in another one."""
    name = dataset_name.parse(row["dataset"])
    return name.is_mean and name.kind == "corruption" and name.shift[1] != "*/*"


def table(rows: Iterable[Mapping]) -> list[list[str]]:
    """Returns a table of results: a heading, then a line for each number of passes.

    Where there are several values, of several trainings, a cell has their mean,
    standard deviation and number. A deterministic model has one line, as its
    passes agree.

    Args:
        rows: With `FIELDS`.

    Returns:
        Lists of equal length; the first columns are the data set and the passes.

    Example:

    >>> row = {"dataset": "d", "num_samples": 1, "num_examples": 9, "seed": 0}
    >>> table([{**row, "metric": "nll", "value": 0.25}])
    [['dataset', 'passes', 'nll'], ['d', '1', '0.2500']]
    """
    values, metrics = {}, {}
    for row in rows:
        key = row["dataset"], row["num_samples"]
        metrics[row["metric"]] = None
        cell = values.setdefault(key, {}).setdefault(row["metric"], [])
        cell.append(row["value"])
    lines = [["dataset", "passes", *metrics]]
    last = None
    for (dataset, num_samples), cells in values.items():
        if last == (dataset, cells):
            continue
        last = dataset, cells
        texts = [spread(cells.get(metric, [])) for metric in metrics]
        lines.append([dataset, str(num_samples), *texts])
    return lines


def spread(values: Sequence[float], factor: float = 1, digits: int = 4) -> str:
    """Returns the mean of values, and if there are several their deviation and number.

    Args:
        values: Values of several trainings; of none, it is a dash.
        factor: Factor of the values in the text.
        digits: Behind the point.

    Example:

    >>> spread([0.25, 0.75], 100, 1)
    '50.0 ± 35.4 (2)'
    """
    if not values:
        return "-"
    text = f"{factor * statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return text
    deviation = factor * statistics.stdev(values)
    return f"{text} ± {deviation:.{digits}f} ({len(values)})"


def choose(
    rows: Iterable[Mapping],
    name: str,
    metrics: CardMetrics = ALL_METRICS,
    posteriors: Mapping[str, Mapping] = types.MappingProxyType({}),
) -> dict[str, tuple[dict, ...]]:
    """Returns the results for a preset: of this training, and of others.

    Args:
        rows: Rows of evaluations.
        name: Name of the weights. Rows of the name without a tag are theirs, too.
        metrics: Those of a card.
        posteriors: What is published with the weights, as
            `zoo.presets.Preset.posteriors` has it. Rows of a name with settings are
            theirs if they have these.

    Returns:
        The fields `results`, `others` and `of_posteriors` of the preset.

    Raises:
        ValueError: If there are rows but none of these weights, or two values of one
            thing.
    """
    rows, own, others = list(rows), [], []
    adapted = {f"{name}@{key}": [] for key in posteriors}
    for row in rows:
        model = row.get("model", name)
        if _is_own(model, name):
            own.append(row)
        elif _is_other(model, name):
            others.append(row)
        elif key := _posterior_of(model, name, posteriors):
            adapted[f"{name}@{key}"].append(row)
    if rows and not own:
        found = sorted({row["model"] for row in rows})
        raise ValueError(
            f"None of the results is of '{name}'; they are of {', '.join(found)}."
        )
    _check_values(own, name)
    by_model = {}
    for row in others:
        by_model.setdefault(row["model"], []).append(row)
    return {
        "results": tuple(select(check_rows(own), metrics)),
        "others": _named(by_model, metrics),
        "of_posteriors": _named(adapted, metrics),
    }


def _posterior_of(model, name, posteriors) -> str | None:
    of_model, behind = split_posterior(model)
    if of_model != name or not behind:
        return None
    return published_posterior(behind, posteriors)


def published_posterior(text: str, posteriors: Mapping[str, Mapping]) -> str | None:
    """Returns the key of the published posterior that a name means, if there is one.

    Args:
        text: What is behind the @ of the name, with settings that must be its own.
        posteriors: As of `zoo.presets.Preset`.
    """
    key, pairs = read_posterior(text)
    if key not in posteriors:
        return None
    return key if posterior_file.agrees(posteriors[key], key, pairs) else None


def _named(by_model, metrics) -> tuple[dict, ...]:
    """Returns a selection of the rows of several models, which keep their names."""
    chosen = []
    for model, rows in by_model.items():
        _check_values(rows, model)
        kept = select(check_rows(rows), metrics)
        chosen += [{"model": model, **row} for row in kept]
    return tuple(chosen)


def _is_own(model, name):
    return model in (name, parse(name).stem)


def _is_other(model, name):
    """Returns whether a name is that of a training with another seed."""
    return (
        "@" not in model
        and model != name
        and split_seed(model)[0] == split_seed(name)[0]
    )


def _check_values(rows, name):
    values = {}
    for row in check_rows(rows):
        key = tuple(row[k] for k in FIELDS if k != "value")
        if values.setdefault(key, row["value"]) != row["value"]:
            raise ValueError(
                f"There are two values of `{row['metric']}` of '{name}' on "
                f"'{row['dataset']}', {values[key]} and {row['value']}. Evaluate the "
                "trainings with other seeds under names of their own, such as "
                f"'{join_seed(split_seed(name)[0], 1)}'."
            )


def json_lines(rows: Iterable[Mapping], name: str) -> str:
    """Returns all rows of a model and of its other trainings as JSON lines.

    Args:
        rows: Rows of evaluations.
        name: Name of the weights. Rows of the name without a tag are theirs, too.
    """
    text = []
    for row in rows:
        model, value = row.get("model", name), row["value"]
        of_posterior = model.startswith(f"{name}@")
        if _is_own(model, name) or _is_other(model, name) or of_posterior:
            names = {"model": name if _is_own(model, name) else model}
            defined = value is not None and math.isfinite(value)
            whole = {**row, **names, "value": value if defined else None}
            text.append(json.dumps(whole) + "\n")
    return "".join(text)
