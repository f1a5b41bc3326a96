"""Backends on which numbers are wrong are refused."""

import os
import subprocess
import sys

import keras
import pytest

from layers import checks


@pytest.mark.parametrize("backend", ["openvino", "numpy"])
def test_other_backends_are_refused_by_name(backend, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(ImportError, match=f"or torch .*KERAS_BACKEND={backend}"):
        checks.check_backend()


@pytest.mark.parametrize(
    "package", ["layers", pytest.param("zoo", marks=pytest.mark.slow)]
)
def test_an_import_under_another_backend_fails_in_one_sentence(package):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import {package}"],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "ImportError: smoothzoo needs tensorflow, jax or torch as the backend of "
        "Keras: set KERAS_BACKEND before Keras is imported. Received: "
        "KERAS_BACKEND=numpy"
    )
