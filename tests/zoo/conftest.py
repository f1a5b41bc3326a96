import functools

import pytest

from tests.zoo import graphs
from zoo import methods, registry, vgg
from zoo.methods import METHODS


@pytest.fixture
def short(monkeypatch):
    """Makes one block a stage of every architecture, and VGG and `mlp` narrow."""
    monkeypatch.setattr(registry, "ARCHITECTURES", graphs.SHORT)
    monkeypatch.setattr(vgg, "FILTERS", (8, 8, 16, 16, 16))
    narrow = functools.partial(methods.mlp, units=32)
    monkeypatch.setitem(METHODS, "mlp", narrow)
