"""The question of the smoothing paper: how many passes does smoothing save?

At which number of passes does a random network without smoothing predict as well as
the smoothed one with two, on clean and on corrupted images?
"""

import itertools
import statistics
from collections.abc import Iterable, Mapping

from benchmarks.results import benchmark_page
from zoo import dataset_name, registry
from zoo.publishing import results

SMOOTH, SIZE, METRIC = "smooth", 2, "nll"
_GROUPS = ("clean", "corrupted")


def answers(rows: Iterable[Mapping], base: str = "fashion_mnist") -> list[dict]:
    """Answers the question for each method, backbone, and kind of images.

    Args:
        rows: Rows of `training.evaluation.sweep.evaluate_all`. Trainings with other
            seeds have names of their own; see `zoo.publishing.results`.
        base: Name of the clean test set, `"fashion_mnist_size/64"` for example.

    Returns:
        A dict for each method, backbone and group: `method`, such as `"mcdo"`,
        `backbone`, `group`, `"clean"` or `"corrupted"`, the `seeds` that both networks
        have; `reference`, the NLL of the smoothed network with two passes for
        each of them; `plain`, that of the other by number of passes; `sizes`, the
        smallest evaluated number of passes with no worse NLL, or None, for each seed;
        and `mean_size`, that of the means over the seeds. Under corruption, NLLs are
        means over the corrupted sets that all of them have.

    Raises:
        ValueError: If no backbone has both networks with the same seed.
    """
    tables = _tables(rows, base)
    methods = {method for table in tables.values() for method, *_ in table}
    found = [
        _answer(method, *key, tables[key])
        for method in sorted(methods)
        for key in sorted(tables)
    ]
    found = [answer for answer in found if answer]
    if not found:
        names = sorted({f"{backbone} ({group})" for backbone, group in tables})
        raise ValueError(
            "The question needs rows of a network such as `resnet20_mcdo` and of the "
            f"same one with `{SMOOTH}` at {SIZE} passes, of trainings with the same "
            f"seed, on '{base}' or its corrupted sets. Received: rows of "
            f"{names or 'none'}"
        )
    return found


def smallest(values: Mapping[int, float], bound: float) -> int | None:
    """Returns the smallest size whose value is not above a bound, or None.

    Example:

    >>> smallest({1: 0.5, 2: 0.4, 5: 0.3}, 0.4)
    2
    """
    return next((size for size in sorted(values) if values[size] <= bound), None)


def markdown(found: Iterable[Mapping]) -> str:
    """Returns answers as Markdown: a table for each method.

    It has a line for each seed, and for the means.

    Args:
        found: The answers, from `answers`.
    """
    tables = itertools.groupby(found, lambda answer: answer["method"])
    return "\n".join(_table(method, list(group)) for method, group in tables)


def _table(method, found) -> str:
    sizes = sorted({size for answer in found for size in answer["plain"]})
    heading = [
        *("network", "images", "seed", f"NLL of `{_smoothed(method)}`, N = {SIZE}"),
        f"`{method}` reaches it at N",
        *(f"NLL of `{method}`, N = {size}" for size in sizes),
    ]
    body = [line for answer in found for line in _lines(answer, sizes)]
    return benchmark_page.markdown(heading, body, words=3)


def _lines(answer, sizes):
    first = [f"`{answer['backbone']}`", answer["group"]]
    last = max(answer["plain"])
    columns = [answer["plain"].get(size, []) for size in sizes]
    for index, seed in enumerate(answer["seeds"]):
        values = [
            answer["reference"][index],
            *(c[index] if c else None for c in columns),
        ]
        reference, *texts = ["-" if v is None else f"{v:.4f}" for v in values]
        reached = _reached(answer["sizes"][index], last)
        yield [*first, str(seed), reference, reached, *texts]
    if len(answer["seeds"]) > 1:
        reference, *texts = map(results.spread, (answer["reference"], *columns))
        reached = _reached(answer["mean_size"], last)
        yield [*first, "mean ± sd (n)", reference, reached, *texts]


def _reached(size, last) -> str:
    return f"never up to {last}" if size is None else str(size)


def _smoothed(method) -> str:
    return f"{SMOOTH}_{method}"


def _answer(method, backbone, group, table) -> dict | None:
    """Answers from NLLs by data set, by methods, seed and number of passes."""
    smooth = _smoothed(method)
    both = {seed for methods, seed, _ in table if methods == method}
    both = sorted(seed for seed in both if (smooth, seed, SIZE) in table)
    sizes = [{n for m, s, n in table if (m, s) == (method, seed)} for seed in both]
    used = [(smooth, seed, SIZE) for seed in both]
    common = sorted(set.intersection(*sizes)) if both else []
    used += [(method, seed, size) for seed in both for size in common]
    sets = set.intersection(*(set(table[key]) for key in used)) if common else ()
    if not sets:
        return None

    def nll(*key):
        return statistics.fmean(table[key][name] for name in sorted(sets))

    reference = [nll(smooth, seed, SIZE) for seed in both]
    plain = {size: [nll(method, seed, size) for seed in both] for size in common}
    means = {size: statistics.fmean(values) for size, values in plain.items()}
    each = [{n: values[i] for n, values in plain.items()} for i in range(len(both))]
    return {
        "method": method,
        "backbone": backbone,
        "group": group,
        "seeds": both,
        "num_sets": len(sets),
        "reference": reference,
        "plain": plain,
        "sizes": [smallest(*pair) for pair in zip(each, reference, strict=True)],
        "mean_size": smallest(means, statistics.fmean(reference)),
    }


def _tables(rows, base):
    """Returns NLLs by backbone and group; methods, seed and passes; and data set."""
    tables = {}
    for row in rows:
        group = _group(row["dataset"], base)
        name, seed = registry.split_seed(row["model"])
        if row["metric"] != METRIC or group is None or not _is_known(name):
            continue
        spec = registry.parse(name)
        table = tables.setdefault((spec.architecture, group), {})
        key = "_".join(spec.methods), seed, row["num_samples"]
        values = table.setdefault(key, {})
        old = values.setdefault(row["dataset"], row["value"])
        if old != row["value"]:
            other = registry.join_seed(f"{spec.stem}.{spec.tag or 'tag'}", 1)
            raise ValueError(
                f"'{row['model']}' has two values on '{row['dataset']}', {old} and "
                f"{row['value']}. Evaluate trainings with other seeds under names such "
                f"as '{other}'."
            )
    return tables


def _group(dataset, base) -> str | None:
    name = dataset_name.parse(dataset)
    if str(name.clean) != base:
        return None
    return {"clean": _GROUPS[0], "corruption": _GROUPS[1]}.get(name.kind)


def _is_known(name) -> bool:
    """Returns whether a name is of the zoo, not of an ensemble or a file."""
    try:
        registry.parse(name)
    except ValueError:
        return False
    return True
