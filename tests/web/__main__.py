"""Runs exports in browsers and Node and prints the table of docs/device.md.

    make web

installs the packages of tests/web/package.json in `.web`, and what exports need in
`.runtimes`, and runs this: `python -m tests.web --write=docs/device.md`.
"""

import argparse
import datetime
import os
import pathlib
import sys
import tempfile


def main() -> None:
    """Prints the table, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, default="runs/web")
    parser.add_argument("--write", type=pathlib.Path, help="A file with the marks.")
    flags = parser.parse_args()
    from tests.web import cases, runtimes, table

    if missing := runtimes.missing():
        sys.exit(f"The table {missing}.")
    path = cases.make(flags.folder.resolve(), runtimes.NODE_MODULES.resolve())
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as profile:
        found = runtimes.run_all(path, pathlib.Path(profile))
    from benchmarks.device import processor
    from training.versions import current_commit

    text = (
        f"\nCommit `{current_commit()[:10]}`, {datetime.date.today()}, {processor()}, "
        f"load {load:.1f} at the start. {runtimes.versions()}.\n\n"
        + "\n".join(table.lines(found, path))
        + "\n\n"
    )
    print(text)
    if flags.write:
        from benchmarks.results import documents

        documents.replace(flags.write, text, table.MARKS)


if __name__ == "__main__":
    main()
