r"""Writes the results of the packaged presets, and of a benchmark, into the documents.

With --question it prints at how many passes `mcdo` is as good as `smooth_mcdo` at two.

Examples:

    python -m training.cli.results --readme=README.md
    python -m training.cli.results --benchmark=runs/benchmark --page=docs/benchmark.md
    python -m training.cli.results --question=runs/a/rows.jsonl,runs/b/rows.jsonl
"""

import pathlib

from absl import flags

from training import question, readme, report, summary
from training.cli import common

_README = flags.DEFINE_string("readme", "README.md", "The Markdown file.")
_BENCHMARK = flags.DEFINE_string("benchmark", None, "Folder of `zoo-evaluate`.")
_BASE = flags.DEFINE_string("base", "fashion_mnist", "The clean set of the benchmark.")
_QUESTION = flags.DEFINE_list("question", [], "Rows of `zoo-evaluate`, of all seeds.")
_PAGE = flags.DEFINE_string("page", "docs/benchmark.md", "Where its tables go.")


def main():
    """Rewrites the text between the two marks, or answers the question."""
    if _QUESTION.value:
        rows = [row for path in _QUESTION.value for row in report.read_rows(path)]
        print(question.markdown(question.answers(rows, _BASE.value)), end="")
    elif _BENCHMARK.value:
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
