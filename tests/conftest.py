"""What holds for all tests."""

import gc
import os

import pytest

from tests.helpers import processes

pytest_plugins = ["tests.helpers.failures"]


def pytest_configure(config):
    """Lets NumPy read tensors of PyTorch through which there are gradients."""
    if os.environ.get("KERAS_BACKEND") != "torch":
        return
    import torch

    config.addinivalue_line("filterwarnings", "ignore:__array_wrap__")
    of_detached = torch.Tensor.__array__
    torch.Tensor.__array__ = lambda x, *dtype, **_: of_detached(x.detach(), *dtype)


def pytest_sessionstart(session):
    if not session.config.getoption("numprocesses", None):  # Others run the tests.
        gc.disable()  # Until the tests are collected: imports leave little garbage.
        processes.share_imports()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Keeps the garbage collector off what imports and earlier files have made.

    These are millions of objects, and the converter of LiteRT for one collects the
    garbage of the whole process each time.
    """
    try:
        return (yield)
    finally:
        if nextitem is None or nextitem.path != item.path:
            gc.collect()
            gc.freeze()
