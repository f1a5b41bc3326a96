r"""Regressors with an uncertainty, side by side; writes docs/regression.md.

    python -m benchmarks.regression --rows=runs/regression.jsonl

Trains one network, MC dropout, an ensemble of five, Laplace's approximation of the last
layer and NOMU on functions of one and two numbers and on tables, and the Gaussian
process of scikit-learn beside them; and looks for the least value of three functions by
some of them. A row of each is added to `--rows`, so that it goes on where it was
stopped. Tables and pictures of docs/ are then made of all rows.
"""

import argparse
import dataclasses
import pathlib
import time

import numpy as np

from benchmarks import regression_methods as compared
from benchmarks import regression_page
from benchmarks.rows import Rows
from training.data import functions, loading
from training.metrics import REGRESSION
from zoo import optimization


def _add(rows, row):
    """Adds a row, and says so."""
    rows.add(row)
    print(row["kind"], row["set"], row["method"], row["seed"], flush=True)


def _fitted(make, kind, train, seed):
    """Returns a regressor, and the seconds of processor time that it took."""
    begin = time.process_time()
    batch = min(32, len(train.labels))
    made = make(compared.STEPS[kind], batch, seed).fit(train.images, train.labels)
    return made, round(time.process_time() - begin, 2)


def measure(rows: Rows, kinds):
    """Adds the rows of some kinds that are missing."""
    for seed in range(compared.SEEDS):
        for kind in kinds:
            _MEASURES[kind](rows, seed)


def _measure_functions(rows, seed):
    for name in (*compared.ONES, *compared.TWOS):
        sets = [functions.load(s, name=name, seed=seed) for s in ("train", "test")]
        _measure_set(rows, "functions", name, compared.METHODS, sets, seed)


def _measure_tables(rows, seed):
    for name in compared.TABLES:
        sets = _split(loading.NAMED[name]("all"), seed)
        _measure_set(rows, "tables", name, compared.OF_TABLES, sets, seed)


def _measure_searches(rows, seed):
    for name in compared.SEARCHES:
        _search(rows, name, seed)


_MEASURES = {
    "functions": _measure_functions,
    "tables": _measure_tables,
    "search": _measure_searches,
}


def _split(data, seed):
    """Returns nine of ten rows of a table, and the others."""
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
        if rows.find(**fields):
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
                for f in compared.FACTORS
            ]
            if name in compared.DRAWN and seed == 0:
                grid = np.linspace(-1, 1, 101)[:, None]
                curve = made.predict(grid, return_std=True)
                row["curve"] = [np.asarray(part).tolist() for part in curve]
        _add(rows, row)


def _search(rows, name, seed):
    function, bounds, least = compared.SEARCHES[name]
    for method, make in compared.OF_SEARCHES.items():
        fields = {"kind": "search", "set": name, "method": method, "seed": seed}
        if rows.find(**fields):
            continue
        regressor = make and make(compared.STEPS["search"], 16, seed)
        begin = time.process_time()
        found = optimization.optimize(
            function, bounds, regressor, compared.CALLS, compared.INITIAL, seed=seed
        )
        seconds = round(time.process_time() - begin, 2)
        regret = (found.least - least).tolist()
        _add(rows, {**fields, "regret": regret, "seconds": seconds})


def main():
    """Measures what is missing, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=pathlib.Path, required=True)
    parser.add_argument(
        "--kinds", nargs="*", default=list(_MEASURES), choices=list(_MEASURES)
    )
    given = parser.parse_args()
    rows = Rows(given.rows)
    measure(rows, given.kinds)
    if len(given.kinds) == len(_MEASURES):
        regression_page.write(rows.rows)


if __name__ == "__main__":
    main()
