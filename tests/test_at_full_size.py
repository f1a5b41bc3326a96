"""`make full-size` as one test."""

import pathlib
import subprocess
import sys

import pytest

from tests.helpers import commands

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.slow
def test_everything_runs_at_full_size(tmp_path):
    command = [sys.executable, "-m", "tests.full_size", f"--folder={tmp_path}"]
    options = {"capture_output": True, "text": True, "cwd": ROOT}
    env = commands.environment()
    result = subprocess.run(command, check=False, env=env, **options)
    assert result.returncode == 0, result.stdout[-10_000:] + result.stderr[-2000:]
