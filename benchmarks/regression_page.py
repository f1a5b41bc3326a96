"""The tables and pictures of docs/regression.md, from rows of measurements."""

import pathlib

import numpy as np

from benchmarks import regression_methods as compared
from benchmarks import rounds
from benchmarks.results import documents
from benchmarks.results.benchmark_page import markdown
from training.data import functions
from zoo.publishing.results import spread

PAGE = rounds.ROOT / "docs" / "regression.md"


def _whole(rows, names, methods):
    """Returns the seeds of which there is a row of each set and method."""
    there = {(r["seed"], r["set"], r["method"]) for r in rows}
    seeds = sorted({row["seed"] for row in rows})
    pairs = [(name, method) for name in names for method in methods]
    return [s for s in seeds if all((s, *pair) in there for pair in pairs)]


def functions_table(rows: list[dict]) -> str:
    """Returns the means over all functions of one number, and of two."""
    lines = []
    for method in compared.METHODS:
        cells = []
        for names in (compared.ONES, compared.TWOS):
            own = [r for r in rows if r["method"] == method and r["set"] in names]
            seeds = _whole(rows, names, compared.METHODS)
            own = [r for r in own if r["seed"] in seeds]
            by_factor = np.mean([r["by_factor"] for r in own], axis=0)
            best = int(np.argmin(by_factor))
            # Of a set, means over the seeds; across seeds, the spread of the mean.
            rmse = _by_seed(own, "rmse")
            cells += [
                spread(rmse, 1, 3),
                f"{by_factor[best]:.2f}",
                f"{compared.FACTORS[best]:.2g}",
            ]
        lines.append([method, *cells])
    heading = ["Method"]
    for number in ("1D", "2D"):
        heading += [f"{number}: RMSE", "NLL, best factor", "factor"]
    return markdown(heading, lines, words=1)


def _by_seed(rows, key):
    seeds = sorted({row["seed"] for row in rows})
    return [np.mean([r[key] for r in rows if r["seed"] == s]) for s in seeds]


def tables_table(rows: list[dict]) -> str:
    """Returns a line for each table and method."""
    heading = ["Data", "Method", "NLL (nats)", "RMSE", "Coverage of 95 % (%)"]
    heading += ["Width of 95 %", "CRPS", "Seconds"]
    lines = []
    for name in compared.TABLES:
        seeds = _whole(rows, [name], compared.OF_TABLES)
        for method in compared.OF_TABLES if seeds else ():
            own = [r for r in rows if r["set"] == name and r["method"] == method]
            own = [r for r in own if r["seed"] in seeds]
            column = {key: [r[key] for r in own] for key in _COLUMNS}
            digits = 3 if np.mean(column["rmse"]) < 1 else 2
            cells = [
                spread(column["gaussian_nll"], 1, 2),
                spread(column["rmse"], 1, digits),
                spread(column["interval_coverage"], 100, 1),
                spread(column["interval_width"], 1, digits),
                spread(column["crps"], 1, digits),
                f"{np.mean(column['seconds']):.1f}",
            ]
            lines.append([name, method, *cells])
    return markdown(heading, lines, words=2)


_COLUMNS = (
    *("gaussian_nll", "rmse", "interval_coverage", "interval_width", "crps"),
    "seconds",
)


def _searches(rows):
    methods = compared.OF_SEARCHES
    return [name for name in compared.SEARCHES if _whole(rows, [name], methods)]


def search_table(rows: list[dict]) -> str:
    """Returns the regret after all calls, of each function and method."""
    lines, names = (
        [],
        [
            name
            for name in compared.SEARCHES
            if _whole(rows, [name], compared.OF_SEARCHES)
        ],
    )
    for method in compared.OF_SEARCHES:
        cells = []
        for name in names:
            seeds = _whole(rows, [name], compared.OF_SEARCHES)
            own = [r for r in rows if r["set"] == name and r["method"] == method]
            regrets = [r["regret"][-1] for r in own if r["seed"] in seeds]
            cells.append(spread(regrets, 1, 3))
        lines.append([method, *cells])
    return markdown(["Method", *names], lines, words=1)


def draw(rows: list[dict], folder: pathlib.Path):
    """Draws what the methods predict of two functions, and the regrets."""
    from training import report
    from training.report import figures

    drawn = [r for r in rows if "curve" in r]
    figure, _ = figures.wide_figure(1)
    figure.clear()
    figure.set_size_inches(12, 4.6)
    axes = figure.subplots(
        len(compared.DRAWN), len(compared.METHODS), sharex=True, sharey=True
    )
    grid = np.linspace(-1, 1, 101)
    for line, name in zip(axes, compared.DRAWN, strict=True):
        train = functions.load("train", name=name)
        for axis, method in zip(line, compared.METHODS, strict=True):
            (row,) = [r for r in drawn if r["set"] == name and r["method"] == method]
            means, scales = map(np.array, row["curve"])
            axis.plot(grid, functions.OF_ONE[name](grid), "--", color="0.5", lw=1)
            axis.fill_between(grid, means - 2 * scales, means + 2 * scales, alpha=0.3)
            axis.plot(grid, means, lw=1)
            axis.plot(train.images[:, 0], train.labels, "k.", ms=5)
            axis.set_ylim(-2, 2)
            axis.set_title(method if name == compared.DRAWN[0] else "", fontsize=9)
    report.save_figure(figure, folder / "regression_functions.png")
    searches = [row for row in rows if row["kind"] == "search"]
    names = [
        name
        for name in compared.SEARCHES
        if _whole(searches, [name], compared.OF_SEARCHES)
    ]
    figure, axes = figures.wide_figure(len(names))
    for axis, name in zip(axes, names, strict=True):
        seeds = _whole(searches, [name], compared.OF_SEARCHES)
        for number, method in enumerate(compared.OF_SEARCHES):
            own = [r for r in searches if r["set"] == name and r["method"] == method]
            mean = np.mean([r["regret"] for r in own if r["seed"] in seeds], axis=0)
            style = figures.style(number)
            style.pop("marker", None)
            axis.plot(np.arange(1, compared.CALLS + 1), mean, label=method, **style)
        axis.set_title(name)
        axis.set_xlabel("calls")
        axis.set_ylabel("mean regret")
        axis.set_yscale("log")
        figures.tidy(axis)
    figures.legend(figure, axes[0], wide=True)
    report.save_figure(figure, folder / "regression_search.png")


def write(rows: list[dict], page: pathlib.Path = PAGE):
    """Puts the tables of rows into the page, and pictures beside it."""
    for kind, make in _TABLES.items():
        own = [row for row in rows if row["kind"] == kind]
        marks = f"<!-- {kind} -->\n", f"<!-- end of {kind} -->\n"
        documents.replace(page, f"\n{make(own)}\n", marks)
    draw(rows, page.parent)


_TABLES = {
    "functions": functions_table,
    "tables": tables_table,
    "search": search_table,
}
