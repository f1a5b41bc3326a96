"""Backends on which numbers are wrong are refused."""

import os
import subprocess
import sys

import keras
import pytest

from layers import backends


@pytest.mark.parametrize("backend", ["openvino", "numpy"])
def test_other_backends_are_refused_by_name(backend, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(ImportError, match=f"or torch .*KERAS_BACKEND={backend}"):
        backends.check()


@pytest.mark.parametrize(
    "package", ["layers", pytest.param("zoo", marks=pytest.mark.slow)]
)
def test_an_import_under_another_backend_fails_in_one_sentence(package):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import {package}"],
        env={**os.environ, "KERAS_BACKEND": "openvino"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "ImportError: smoothzoo needs tensorflow, jax or torch as the backend of "
        "Keras: set KERAS_BACKEND before Keras is imported. Received: "
        "KERAS_BACKEND=openvino"
    )


def test_keras_2_is_warned_of_in_one_sentence(monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    with pytest.warns(UserWarning, match="`tf.keras` Keras 2.*use `keras`"):
        backends.check()
