import os
import sys

import numpy as np
import pytest

from tests.helpers import processes


def run_module(name, path, **environment):
    """Runs a module that writes a NumPy archive, and returns the archive."""
    command = [sys.executable, "-W", "ignore", "-m", name, path]
    processes.run(command, env={**os.environ, **environment}, check=True)
    return np.load(path)


@pytest.fixture(scope="session")
def on_jax(tmp_path_factory):
    """What `tests.helpers.portable` computes on JAX."""
    path = tmp_path_factory.mktemp("jax") / "results.npz"
    return run_module("tests.helpers.portable", path, KERAS_BACKEND="jax")


@pytest.fixture(scope="session")
def replicas(tmp_path_factory):
    """What `tests.helpers.replicas` draws on two devices."""
    path = tmp_path_factory.mktemp("replicas") / "draws.npz"
    return run_module("tests.helpers.replicas", path)
