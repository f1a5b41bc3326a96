r"""Writes the results of the packaged presets into the README.

Example:

    python -m training.cli.results --readme=README.md
"""

import pathlib

from absl import flags

from training import readme
from training.cli import common

_README = flags.DEFINE_string("readme", "README.md", "The Markdown file.")


def main():
    """Rewrites the text between the two marks."""
    readme.update(pathlib.Path(_README.value))
    print(f"The results are in {_README.value}")


def run():
    """Entry point of `make results`."""
    common.run(main)


if __name__ == "__main__":
    run()
