r"""Regressors with an uncertainty, side by side; writes docs/regression.md.

    python -m benchmarks.regression --rows=runs/regression.jsonl

Trains one network, MC dropout, an ensemble of five, Laplace's approximation of the last
layer and NOMU on functions of one and two numbers and on tables, and the Gaussian
process of scikit-learn beside them; and looks for the least value of three functions by
some of them. A row of each is added to `--rows`, so that it goes on where it was
stopped. Tables and pictures of docs/ are then made of all rows.
"""

import argparse
import json
import pathlib
import time

import numpy as np

from benchmarks.results import documents
from benchmarks.results.benchmark_page import markdown
from training.data import functions, loading
from training.metrics import REGRESSION
from zoo import optimization
from zoo.publishing.results import spread

PAGE = pathlib.Path("docs/regression.md")
STEPS, SEEDS = {"functions": 600, "tables": 1000, "search": 300}, 3
LIKELIHOOD = "gaussian:beta=0.5"
ONES = ("abs", "kink", "sine2", "forrester")
TWOS = ("sphere", "branin")
TABLES = ("diabetes", "friedman1", "friedman2", "friedman3")
DRAWN = "sine2", "kink"
FACTORS = np.geomspace(0.05, 50, 121)  # Of deviations, one for all functions.
CALLS, INITIAL = 20, 5
RESTARTS = 5  # Of the search for the marginal likelihood of the Gaussian process.


def _hartmann(x):
    """Returns the function of Hartmann of six numbers in [0, 1]."""
    a = np.array(
        [
            [10, 3, 17, 3.5, 1.7, 8],
            [0.05, 10, 17, 0.1, 8, 14],
            [3, 3.5, 1.7, 10, 17, 8],
            [17, 8, 0.05, 10, 0.1, 14],
        ]
    )
    p = 1e-4 * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )
    inner = np.sum(a * np.square(x - p), axis=1)
    return float(-np.dot([1.0, 1.2, 3.0, 3.2], np.exp(-inner)))


def _levy(x):
    w = 1 + (x - 1) / 4
    middle = np.square(w[:-1] - 1) * (1 + 10 * np.square(np.sin(np.pi * w[:-1] + 1)))
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return float(np.sin(np.pi * w[0]) ** 2 + middle.sum() + last)


# By name: the function, its bounds, and its least value.
SEARCHES = {
    "branin": (
        lambda x: float(functions.branin(*x)),
        [(-5, 10), (0, 15)],
        0.397887,
    ),
    "levy4": (_levy, [(-10, 10)] * 4, 0.0),
    "hartmann6": (_hartmann, [(0, 1)] * 6, -3.32237),
}


def _network(model, **settings):
    def make(steps, batch_size, seed):
        from training.regressor import Regressor

        given = {"num_steps": steps, "batch_size": batch_size, "seed": seed}
        given |= {"objective": LIKELIHOOD, "learning_rate": 3e-3}
        return Regressor(model, **{**given, **settings})

    return make


def _gaussian_process(steps, batch_size, seed):
    try:
        from sklearn import gaussian_process, pipeline, preprocessing
    except ImportError as error:
        raise ImportError(
            "The Gaussian process is that of scikit-learn: pip install scikit-learn"
        ) from error
    kernels = gaussian_process.kernels
    kernel = kernels.ConstantKernel() * kernels.RBF() + kernels.WhiteKernel(1e-3)
    process = gaussian_process.GaussianProcessRegressor(
        kernel, normalize_y=True, n_restarts_optimizer=RESTARTS, random_state=seed
    )
    return pipeline.make_pipeline(preprocessing.StandardScaler(), process)


METHODS = {
    "one network": _network("mlp64x2"),
    "MC dropout": _network("mlp64x2_mcdo10", posterior="mc"),
    "ensemble of 5": _network("mlp64x2", num_members=5),
    "Laplace": _network("mlp64x2", posterior="laplace"),
    "NOMU": _network("mlp64x2_nomu", objective="nomu"),
    "Gaussian process": _gaussian_process,
}
# The deviation of NOMU has no unit until a factor is fitted, on a fifth of the rows.
OF_TABLES = {
    **METHODS,
    "NOMU": _network("mlp64x2_nomu", objective="nomu", calibration=0.2),
}
OF_SEARCHES = {
    "random search": None,
    "Laplace": _network("mlp64x2", posterior="laplace"),
    "NOMU": METHODS["NOMU"],
    "Gaussian process": _gaussian_process,
}


class Rows:
    """Rows in a file, to which new ones are added.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        text = path.read_text() if path.exists() else ""
        self.rows = [json.loads(line) for line in text.splitlines()]

    def has(self, **fields) -> bool:
        """Returns whether there is a row with these fields."""
        return any(fields.items() <= row.items() for row in self.rows)

    def add(self, row: dict):
        """Adds a row, and says so."""
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row["kind"], row["set"], row["method"], row["seed"], flush=True)


def _fitted(make, kind, train, seed):
    """Returns a regressor, and the seconds of processor time that it took."""
    begin = time.process_time()
    batch = min(32, len(train.labels))
    made = make(STEPS[kind], batch, seed).fit(train.images, train.labels)
    return made, round(time.process_time() - begin, 2)


def measure(rows: Rows, kinds):
    """Adds the rows of some kinds that are missing."""
    for seed in range(SEEDS):
        for kind in kinds:
            _MEASURES[kind](rows, seed)


def _measure_functions(rows, seed):
    for name in (*ONES, *TWOS):
        sets = [functions.load(s, name=name, seed=seed) for s in ("train", "test")]
        _measure_set(rows, "functions", name, METHODS, sets, seed)


def _measure_tables(rows, seed):
    for name in TABLES:
        sets = _split(loading.NAMED[name]("all"), seed)
        _measure_set(rows, "tables", name, OF_TABLES, sets, seed)


def _measure_searches(rows, seed):
    for name in SEARCHES:
        _search(rows, name, seed)


_MEASURES = {
    "functions": _measure_functions,
    "tables": _measure_tables,
    "search": _measure_searches,
}


def _split(data, seed):
    """Returns nine of ten rows of a table, and the others."""
    import dataclasses

    order = np.random.default_rng(seed).permutation(len(data))
    count = len(data) // 10
    return [
        dataclasses.replace(data, images=data.images[rows], labels=data.labels[rows])
        for rows in (order[count:], order[:count])
    ]


def _measure_set(rows, kind, name, methods, sets, seed):
    train, test = sets
    for method, make in methods.items():
        fields = {"kind": kind, "set": name, "method": method, "seed": seed}
        if rows.has(**fields):
            continue
        made, seconds = _fitted(make, kind, train, seed)
        means, scales = made.predict(test.images, return_std=True)
        scales = np.maximum(scales, 1e-6)
        values = {
            key: function(means, scales, test.labels)
            for key, function in REGRESSION.items()
        }
        row = {**fields, **values, "seconds": seconds}
        if kind == "functions":
            row["by_factor"] = [
                REGRESSION["gaussian_nll"](means, f * scales, test.labels)
                for f in FACTORS
            ]
            if name in DRAWN and seed == 0:
                grid = np.linspace(-1, 1, 101)[:, None]
                curve = made.predict(grid, return_std=True)
                row["curve"] = [np.asarray(part).tolist() for part in curve]
        rows.add(row)


def _search(rows, name, seed):
    function, bounds, least = SEARCHES[name]
    for method, make in OF_SEARCHES.items():
        fields = {"kind": "search", "set": name, "method": method, "seed": seed}
        if rows.has(**fields):
            continue
        regressor = make and make(STEPS["search"], 16, seed)
        begin = time.process_time()
        found = optimization.optimize(
            function, bounds, regressor, CALLS, INITIAL, seed=seed
        )
        seconds = round(time.process_time() - begin, 2)
        regret = (found.least - least).tolist()
        rows.add({**fields, "regret": regret, "seconds": seconds})


def _whole(rows, names, methods):
    """Returns the seeds of which there is a row of each set and method."""
    there = {(r["seed"], r["set"], r["method"]) for r in rows}
    seeds = sorted({row["seed"] for row in rows})
    pairs = [(name, method) for name in names for method in methods]
    return [s for s in seeds if all((s, *pair) in there for pair in pairs)]


def functions_table(rows: list[dict]) -> str:
    """Returns the means over all functions of one number, and of two."""
    lines = []
    for method in METHODS:
        cells = []
        for names in (ONES, TWOS):
            own = [r for r in rows if r["method"] == method and r["set"] in names]
            seeds = _whole(rows, names, METHODS)
            own = [r for r in own if r["seed"] in seeds]
            by_factor = np.mean([r["by_factor"] for r in own], axis=0)
            best = int(np.argmin(by_factor))
            # Of a set, means over the seeds; across seeds, the spread of the mean.
            rmse = _by_seed(own, "rmse")
            cells += [
                spread(rmse, 1, 3),
                f"{by_factor[best]:.2f}",
                f"{FACTORS[best]:.2g}",
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
    for name in TABLES:
        seeds = _whole(rows, [name], OF_TABLES)
        for method in OF_TABLES if seeds else ():
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


def search_table(rows: list[dict]) -> str:
    """Returns the regret after all calls, of each function and method."""
    lines, names = [], [name for name in SEARCHES if _whole(rows, [name], OF_SEARCHES)]
    for method in OF_SEARCHES:
        cells = []
        for name in names:
            seeds = _whole(rows, [name], OF_SEARCHES)
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
    axes = figure.subplots(len(DRAWN), len(METHODS), sharex=True, sharey=True)
    grid = np.linspace(-1, 1, 101)
    for line, name in zip(axes, DRAWN, strict=True):
        train = functions.load("train", name=name)
        for axis, method in zip(line, METHODS, strict=True):
            (row,) = [r for r in drawn if r["set"] == name and r["method"] == method]
            means, scales = map(np.array, row["curve"])
            axis.plot(grid, functions.OF_ONE[name](grid), "--", color="0.5", lw=1)
            axis.fill_between(grid, means - 2 * scales, means + 2 * scales, alpha=0.3)
            axis.plot(grid, means, lw=1)
            axis.plot(train.images[:, 0], train.labels, "k.", ms=5)
            axis.set_ylim(-2, 2)
            axis.set_title(method if name == DRAWN[0] else "", fontsize=9)
    report.save_figure(figure, folder / "regression_functions.png")
    searches = [row for row in rows if row["kind"] == "search"]
    names = [name for name in SEARCHES if _whole(searches, [name], OF_SEARCHES)]
    figure, axes = figures.wide_figure(len(names))
    for axis, name in zip(axes, names, strict=True):
        seeds = _whole(searches, [name], OF_SEARCHES)
        for number, method in enumerate(OF_SEARCHES):
            own = [r for r in searches if r["set"] == name and r["method"] == method]
            mean = np.mean([r["regret"] for r in own if r["seed"] in seeds], axis=0)
            style = figures.style(number)
            style.pop("marker", None)
            axis.plot(np.arange(1, CALLS + 1), mean, label=method, **style)
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


def main():
    """Measures what is missing, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=pathlib.Path, required=True)
    parser.add_argument(
        "--kinds", nargs="*", default=list(_MEASURES), choices=list(_MEASURES)
    )
    given = parser.parse_args()
    rows = Rows(given.rows)
    rows.path.parent.mkdir(parents=True, exist_ok=True)
    measure(rows, given.kinds)
    if len(given.kinds) == len(_MEASURES):
        write(rows.rows)


if __name__ == "__main__":
    main()
