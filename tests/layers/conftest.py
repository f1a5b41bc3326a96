import os
import sys

import numpy as np
import pytest

from tests.helpers import marks, processes


def run_module(name, path, **environment):
    """Runs a module that writes a NumPy archive, and returns the archive."""
    command = [sys.executable, "-W", "ignore", "-m", name, path]
    processes.run(command, env={**os.environ, **environment}, check=True)
    return np.load(path)


@pytest.fixture(scope="session", params=marks.OTHERS)
def elsewhere(request, tmp_path_factory):
    """What `tests.helpers.portable` computes on another backend."""
    pytest.importorskip(request.param)
    path = tmp_path_factory.mktemp(request.param) / "results.npz"
    return run_module("tests.helpers.portable", path, KERAS_BACKEND=request.param)


@pytest.fixture(scope="session")
def replicas(tmp_path_factory):
    """What `tests.helpers.replicas` draws on two devices."""
    path = tmp_path_factory.mktemp("replicas") / "draws.npz"
    return run_module("tests.helpers.replicas", path)
