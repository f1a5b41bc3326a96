"""From the rows of corrupted data sets to mean error, mCE and their relatives."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from training.corruptions import BENCHMARK, SEVERITIES
from training.corruptions.table import OTHER_ORDER
from training.metrics.table import AGGREGATES
from zoo import dataset_name

# The mean error of AlexNet over the severities of each corruption of ImageNet-C, as
# published; a clean error was not, so there is no relative mCE.
_ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
# The name of this reference.
PUBLISHED = "alexnet_published"
# Who made corrupted images, by words of the `source` of a row: they have the images in
# orders of their own, and corrupted them by programs of their own.
_MAKERS = ("published", "TensorFlow Datasets", "made here")


def aggregate(rows: Iterable[Mapping], reference: str | None = None) -> list[dict]:
    """Returns the rows that sum up the corrupted variants of each data set.

    The rows of `X_c/<corruption>/<severity>` with the metrics `accuracy`, `nll` and
    `ece` become, under the data set `X_c`, for each model, number of samples and seed:

        mean_error, mean_nll, mean_ece
            The plain mean over the 15 corruptions and 5 severities.
        mce/R, mcnll/R, mcece/R
            100 times the mean over corruptions of `sum_s E / sum_s E_R`, the sums over
            severities of the model's errors (NLLs, ECEs) and those of the reference R.
            100 is as bad as the reference.
        relative_mce/R
            The same of `sum_s (E - E_clean) / sum_s (E_R - E_R_clean)`, if there are
            rows of the clean data set `X` too, of the same images.

    The corruptions beyond the 15 of the benchmark take no part, nor do other rows.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`.
        reference: The name of a deterministic model among the rows; or
            `alexnet_published`, whose errors on ImageNet-C alone are known. Without
            it, nothing is normalized.

    Returns:
        Rows with the keys of the given ones. `num_examples` and `seconds` are sums over
        the 75 data sets. A quotient by zero or less is NaN: the reference makes no
        errors, or, in the relative one, no more than on clean data.

    Raises:
        ValueError: If combinations are missing or have two values, images of several
            makers would be mixed, or there is not one reference for each data set.

    Reference:
        [Benchmarking Neural Network Robustness](https://arxiv.org/abs/1903.12261)
        (Hendrycks and Dietterich, 2019). Others call the mean error mCE.
    """
    grids, clean = _collect(rows)
    results = []
    for key, grid in grids.items():
        _, dataset, metric, *_ = key
        errors = _errors(key, grid)
        values = {AGGREGATES[metric][0]: errors.mean()}
        if reference is not None:
            base = _reference(grids, clean, reference, dataset, metric)
            own = clean if key in clean and not _are_others(clean[key], grid) else {}
            values |= _normalized(key, errors, own, base, reference)
        common = {**_common(grid.values()), "dataset": dataset}
        for name, value in values.items():
            results.append({**common, "metric": name, "value": float(value)})
    return results


def _collect(rows):
    """Returns rows by place in the grid, and rows of clean data, by key.

    A key is model, data set, metric, number of samples and seed.
    """
    grids, clean = {}, {}
    for row in rows:
        name = dataset_name.parse(row["dataset"])
        key = _key(row, str(name.whole))
        if row["metric"] not in AGGREGATES:
            continue
        if name.kind == "clean":
            _add(clean, key, row)
        elif _is_counted(name):
            place = f"{name.change}/{name.amount:g}"
            _add(grids.setdefault(key, {}), place, row)
    return grids, clean


def _key(row, dataset):
    metric, rest = row["metric"], (row.get("num_samples"), row.get("seed"))
    return row["model"], dataset, metric, *rest


def _add(table, key, row):
    old = table.setdefault(key, row)
    if old["value"] != row["value"]:
        raise ValueError(
            f"Model '{row['model']}' has two values of `{row['metric']}` on "
            f"'{row['dataset']}'; leave out the rows of one evaluation. Received: "
            f"values {old['value']} and {row['value']}"
        )


def _errors(key, grid):
    """Returns what is bad, of the shape `(corruptions, severities)`."""
    model, dataset, metric, size, _ = key
    places = [[f"{c}/{s}" for s in SEVERITIES] for c in BENCHMARK]
    if missing := [name for names in places for name in names if name not in grid]:
        raise ValueError(
            f"A mean over '{dataset}' needs all {len(BENCHMARK)} corruptions at all "
            f"severities. Received: `{metric}` of model={model}, num_samples={size} "
            f"without {', '.join(missing)}"
        )
    if len(makers := _makers(grid.values())) > 1:
        raise ValueError(
            f"A mean over '{dataset}' would mix {_listed(makers)}, whose images have "
            "different orders and are corrupted by different programs. Take all from "
            f"one. Received: rows of model={model}"
        )
    return _bad(metric, [[grid[name]["value"] for name in names] for names in places])


def _makers(rows) -> dict[str, list[str]]:
    """Returns the names of data sets by the makers of their images, as far as known."""
    found = {}
    for row in rows:
        source = row.get("source") or ""
        for maker in _MAKERS:
            if maker in source:
                found.setdefault(maker, []).append(row["dataset"])
                break
    return found


def _listed(makers) -> str:
    return " and ".join(f"{len(n)} sets {m} ({n[0]})" for m, n in makers.items())


def mixed(rows: Iterable[Mapping]) -> dict[str, str]:
    """Returns the corrupted data sets that have images of several makers.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`.

    Returns:
        What is mixed, in words, by the name of the data set, `"X_c"`.
    """
    grids, found = {}, {}
    for row in rows:
        name = dataset_name.parse(row["dataset"])
        if row["metric"] in AGGREGATES and _is_counted(name):
            own = grids.setdefault(_key(row, str(name.whole)), {})
            own[row["dataset"]] = row
    for (_, dataset, *_), own in grids.items():
        if len(makers := _makers(own.values())) > 1:
            found[dataset] = _listed(makers)
    return found


def _is_counted(name) -> bool:
    return name.kind == "corruption" and name.change in BENCHMARK


def _are_others(clean, grid) -> bool:
    """Returns whether some clean images were taken, and corrupted ones of others."""
    rows = list(grid.values())
    if any(row["num_examples"] != clean["num_examples"] for row in rows):
        return True
    some = clean.get("selection") or any(row.get("selection") for row in rows)
    return bool(some) and any(OTHER_ORDER in (row.get("source") or "") for row in rows)


def _bad(metric, values):
    return 1 - np.array(values) if metric == "accuracy" else np.array(values)


def _reference(grids, clean, reference, dataset, metric):
    """Returns the errors summed over severities and the clean error; None: unknown."""
    if reference == PUBLISHED:
        if dataset not in ("imagenet_c", "imagenet2012_c"):
            raise ValueError(
                "The published errors of AlexNet are those on ImageNet-C; name a "
                "model among the rows as the reference. Received: "
                f"reference={reference}, dataset={dataset}"
            )
        known = len(SEVERITIES) * np.array([_ALEXNET[name] for name in BENCHMARK])
        return (known if metric == "accuracy" else None), None
    keys = [key for key in grids if key[:3] == (reference, dataset, metric)]
    found = {_errors(key, grids[key]).tobytes(): key for key in keys}
    if len(found) != 1:
        reason = (
            "is stochastic: its values differ" if found else "is not among the rows"
        )
        raise ValueError(
            f"The reference on '{dataset}' must be a deterministic model with "
            f"rows of `{metric}`; '{reference}' {reason}. Received: "
            f"reference={reference}, rows of models "
            f"{sorted({key[0] for key in grids if key[1] == dataset})}"
        )
    (key,) = found.values()
    of_clean = _bad(metric, clean[key]["value"]) if key in clean else None
    return _errors(key, grids[key]).sum(axis=1), of_clean


def _normalized(key, errors, clean, base, reference):
    sums, base_clean = base
    metric, values = key[2], {}
    if sums is not None:
        name = f"{AGGREGATES[metric][1]}/{reference}"
        values[name] = _percent(errors.sum(axis=1), sums)
    if metric == "accuracy" and base_clean is not None and key in clean:
        own = errors.sum(axis=1) - len(SEVERITIES) * _bad(metric, clean[key]["value"])
        other = sums - len(SEVERITIES) * base_clean
        values[f"relative_mce/{reference}"] = _percent(own, other)
    return values


def _percent(sums, base):
    return 100 * np.mean(sums / base) if (base > 0).all() else math.nan


def _common(rows):
    """Returns what the rows have in common, and the sums of what adds up."""
    first, *others = rows
    same = {k: v for k, v in first.items() if all(r.get(k) == v for r in others)}
    adding = [name for name in ("num_examples", "seconds") if name in first]
    return same | {name: sum(row[name] for row in (first, *others)) for name in adding}
