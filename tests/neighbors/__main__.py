r"""Runs the code of docs/neighbors.md, each section in an environment of its own.

    python -m tests.neighbors [part of a heading ...]

An environment has the packages that the section installs, before those of the Python
that runs this. They lie in `.neighbors`, and are made anew when the section installs
others. `make neighbors` is the same.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv

from tests.neighbors import pages

DONE = "complete"  # A file with what was installed.


def environment(section: pages.Section, folder: pathlib.Path) -> pathlib.Path:
    """Returns the Python of an environment, which is made if it is not there.

    Args:
        section: Whose packages it has.
        folder: Where environments lie.
    """
    place, wanted = folder / section.name, "\n".join(section.packages)
    python, done = place / "bin" / "python", place / DONE
    if done.exists() and done.read_text() == wanted:
        return python
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, symlinks=True)
    paths = {"base": str(place), "platbase": str(place)}
    own = pathlib.Path(sysconfig.get_path("purelib", "venv", paths))
    (own / "below.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    command = [python, "-m", "pip", "install", "--quiet", *section.packages]
    subprocess.run(command, check=True)
    done.write_text(wanted)
    return python


def run(section: pages.Section, python: pathlib.Path) -> str | None:
    """Runs the code of a section, its processes one after the other, and its check.

    Returns:
        What a process wrote that failed, or None.
    """
    paths = [str(pages.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    env |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    with tempfile.TemporaryDirectory() as folder:
        commands = []
        for number, code in enumerate(section.processes):
            file = pathlib.Path(folder, f"{section.name}_{number}.py")
            file.write_text(code)
            commands.append([python, file])
        if (pages.CHECKS / f"{section.name}.py").exists():
            commands.append([python, "-m", f"tests.neighbors.checks.{section.name}"])
        for command in commands:
            done = subprocess.run(
                command,
                cwd=folder,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                return f"{done.stdout}{done.stderr}"
    return None


def main() -> None:
    """Prints a line for each section; exits with 1 if one has failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("headings", nargs="*", help="Parts of headings; default: all.")
    parser.add_argument("--folder", type=pathlib.Path, default=".neighbors")
    flags = parser.parse_args()
    failed = []
    for section in pages.sections():
        words = [word.lower() for word in flags.headings]
        if words and not any(word in section.heading.lower() for word in words):
            continue
        python = environment(section, flags.folder.absolute())
        start = time.perf_counter()
        wrong = run(section, python)
        state = "failed" if wrong else "ran"
        seconds = time.perf_counter() - start
        print(f"{section.heading}: {state}, {seconds:.0f} s", flush=True)
        if wrong:
            failed.append(section.heading)
            print(wrong, flush=True)
    sys.exit(f"Failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
