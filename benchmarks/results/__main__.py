r"""Writes the results of the packaged presets, and of a benchmark, into the documents.

With --results, rows of `zoo-evaluate` go into the presets: those of a training take the
place of what was there of it, those of other seeds become the spread.
With --benchmark, tables go into --page and a figure, severity.png, beside it.
With --question it prints at how many passes `mcdo` is as good as `smooth_mcdo` at two,
and so for other random methods, and with --curves draws NLL, accuracy and ECE.
With --severity it draws boxes over the corruptions by severity into --curves.
With --detection it prints tables of all scores of `zoo-evaluate --ood`.

Examples:

    python -m benchmarks.results --checkout=.
    python -m benchmarks.results --results=runs/a/rows.jsonl,runs/b/rows.jsonl
    python -m benchmarks.results --benchmark=runs/benchmark --page=docs/benchmark.md
    python -m benchmarks.results --question=runs/a/rows.jsonl,runs/b/rows.jsonl \
        --base=cifar10 --curves=docs/cifar10.png
    python -m benchmarks.results --severity=runs/single_pass/rows.jsonl \
        --base=cifar10 --curves=docs/single_pass.png
    python -m benchmarks.results --detection=runs/a/rows.jsonl,runs/b/rows.jsonl
"""

import pathlib

from absl import flags

from benchmarks.results import (
    benchmark_page,
    detection_scores,
    documents,
    passes_saved,
)
from training import metrics, report
from training.cli import common
from zoo.publishing import packaging

_CHECKOUT = flags.DEFINE_string("checkout", ".", "Folder of README.md and docs.")
_BENCHMARK = flags.DEFINE_string("benchmark", None, "Folder of `zoo-evaluate`.")
_BASE = flags.DEFINE_string("base", "fashion_mnist", "The clean set of the benchmark.")
_RESULTS = flags.DEFINE_list("results", [], "Rows of `zoo-evaluate`, of all seeds.")
_QUESTION = flags.DEFINE_list("question", [], "Such rows, to compare.")
_CURVES = flags.DEFINE_string(
    "curves", None, "Figure of the rows of --question or --severity."
)
_DETECTION = flags.DEFINE_list("detection", [], "Rows with --ood, of all seeds.")
_SEVERITY = flags.DEFINE_list(
    "severity", [], "Rows of corrupted sets of --base, drawn by severity into --curves."
)
_PAGE = flags.DEFINE_string("page", "docs/benchmark.md", "Where its tables go.")


def main():
    """Rewrites the text between the two marks, or answers the question."""
    if _QUESTION.value:
        rows = _rows(_QUESTION.value)
        print(passes_saved.markdown(passes_saved.answers(rows, _BASE.value)), end="")
        if _CURVES.value:
            clean = [row for row in rows if row["dataset"] == _BASE.value]
            report.plot_ensemble_size(clean, _CURVES.value)
            print(f"The curves are in {_CURVES.value}")
    elif _SEVERITY.value:
        report.plot_severity(_rows(_SEVERITY.value), _BASE.value, _CURVES.value)
        print(f"The boxes are in {_CURVES.value}")
    elif _DETECTION.value:
        print(detection_scores.markdown(_rows(_DETECTION.value)), end="")
    elif _BENCHMARK.value:
        rows = report.read_rows(pathlib.Path(_BENCHMARK.value) / "rows.jsonl")
        page, figure = benchmark_page.write(
            rows, _BASE.value, pathlib.Path(_PAGE.value)
        )
        print(f"The benchmark is in {page}, and drawn in {figure}")
    else:
        if _RESULTS.value:
            names = packaging.renew(_rows(_RESULTS.value), metrics=metrics.CARD)
            print(f"New results: {', '.join(names)}")
        documents.update(checkout := pathlib.Path(_CHECKOUT.value))
        print(f"The results are in {' and '.join(documents.blocks())} of {checkout}")


def _rows(paths):
    return [row for path in paths for row in report.read_rows(path)]


def run():
    """Entry point of `make results`."""
    common.run(main)


if __name__ == "__main__":
    run()
