import sys

import pytest

from tests.helpers import processes
from tests.helpers.commands import environment

COMMAND = '''
"""Adds things."""

import os
import signal

from absl import flags

from training.cli import common

_KIND = flags.DEFINE_string("kind", None, "What happens.", required=True)


def main():
    if _KIND.value == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    if _KIND.value == "interrupted function":
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemError("bad argument to internal function")
    if _KIND.value == "broken function":
        raise SystemError("bad argument to internal function")
    if _KIND.value == "missing":
        open("/missing/file")
    if _KIND.value == "bug":
        {}["key"]
    if _KIND.value == "value":
        raise ValueError("A value\\nis wrong.")
    print("done")


common.run(main)
'''


def execute(*args):
    command = [sys.executable, "-c", COMMAND, *args]
    options = {"env": environment()}
    return processes.run(command, **options)


@pytest.mark.parametrize(
    "args, code, message",
    [
        (["--kind=value"], 1, "Error: A value is wrong."),
        (["--kind=missing"], 1, "No such file or directory: '/missing/file'"),
        (["--kind=ok", "extra"], 1, "Unexpected arguments: extra"),
        (["--kind=interrupt"], 130, "Error: interrupted"),
        (["--kind=interrupted function"], 130, "Error: interrupted"),
        (["--kinds=ok"], 2, "Unknown command line flag 'kinds'. Did you mean: kind ?"),
        ([], 2, "Flag --kind must have a value"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(args, code, message):
    result = execute(*args)
    assert result.returncode == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "args",
    [["--kind=bug"], ["--kind=broken function"], ["--kind=value", "--verbosity=1"]],
)
def test_a_bug_and_a_verbose_run_keep_the_traceback(args):
    result = execute(*args)
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_help_shows_the_docstring_and_the_flags():
    result = execute("--help")
    assert result.returncode == 0
    assert "Adds things." in result.stdout
    assert "--kind: What happens." in result.stdout


def test_a_command_that_works_exits_with_zero():
    result = execute("--kind=ok")
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)
