"""Where real data lie, which are no part of this repository."""

import os
import pathlib

import pytest


def _path(variable, reason):
    path = os.environ.get(variable)
    if not path:
        pytest.skip(
            f"{reason}: make real-data DATA=folder WEIGHTS=folder PUBLISHED=file"
        )
    return pathlib.Path(path)


def _folder(variable, reason):
    path = _path(variable, reason)
    assert path.is_dir(), f"{variable}={path} is no folder"
    return path


@pytest.fixture(scope="session")
def data_dir():
    """The folder of `cifar-10-batches-bin` and `cifar-100-binary`."""
    return _folder("SMOOTHZOO_REAL_DATA", "CIFAR is not here")


@pytest.fixture(scope="session")
def weights_dir():
    """The folder of `resnet20-12fca82f.th` and the like."""
    return _folder("SMOOTHZOO_REAL_WEIGHTS", "the published weights are not here")


@pytest.fixture(scope="session")
def published():
    """The program `make_cifar_c.py`."""
    path = _path("SMOOTHZOO_REAL_PUBLISHED", "the published program is not here")
    assert path.is_file(), f"SMOOTHZOO_REAL_PUBLISHED={path} is no file"
    return path
