r"""Writes the results of the packaged presets, and of a benchmark, into the documents.

Example:

    python -m training.cli.results --readme=README.md
    python -m training.cli.results --benchmark=runs/benchmark --page=docs/benchmark.md
"""

import pathlib

from absl import flags

from training import readme, report, summary
from training.cli import common

_README = flags.DEFINE_string("readme", "README.md", "The Markdown file.")
_BENCHMARK = flags.DEFINE_string("benchmark", None, "Folder of `zoo-evaluate`.")
_BASE = flags.DEFINE_string("base", "fashion_mnist", "The clean set of the benchmark.")
_PAGE = flags.DEFINE_string("page", "docs/benchmark.md", "Where its tables go.")


def main():
    """Rewrites the text between the two marks."""
    if _BENCHMARK.value:
        rows = report.read_rows(pathlib.Path(_BENCHMARK.value) / "rows.jsonl")
        readme.replace(pathlib.Path(_PAGE.value), summary.page(rows, _BASE.value))
        print(f"The benchmark is in {_PAGE.value}")
    else:
        readme.update(pathlib.Path(_README.value))
        print(f"The results are in {_README.value}")


def run():
    """Entry point of `make results`."""
    common.run(main)


if __name__ == "__main__":
    run()
