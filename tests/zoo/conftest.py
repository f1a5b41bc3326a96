import functools

import keras
import pytest

import zoo
from tests.helpers import graphs, publications, weight_files
from zoo import registry
from zoo.models import alexnet, methods, vgg
from zoo.models.methods import METHODS
from zoo.presets import index, weight_file


@pytest.fixture
def narrow_mlp(monkeypatch):
    """Makes `mlp` narrow; its 400 million weights do not fit into memory many times."""
    narrow = functools.partial(methods.mlp, units=32)
    monkeypatch.setitem(METHODS, "mlp", narrow)


@pytest.fixture
def short(monkeypatch, narrow_mlp):
    """Makes one block a stage of every architecture, and chains and `mlp` narrow."""
    monkeypatch.setattr(registry, "ARCHITECTURES", graphs.SHORT)
    monkeypatch.setattr(vgg, "FILTERS", (8, 8, 16, 16, 16))
    monkeypatch.setattr(alexnet, "SIZES", (((8, 11),), ((16, 5),), ((16, 3),)))


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """An empty stand-in for the package's own folder."""
    monkeypatch.setattr(index, "FOLDER", tmp_path)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    return tmp_path


@pytest.fixture(scope="session")
def model():
    """A small network with random weights; tests leave it as it is."""
    model = weight_files.small_model()
    weight_files.random_weights(model)
    return model


@pytest.fixture
def path(model, tmp_path):
    """The weights file of that network."""
    weight_file.save_weights(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="session")
def toy_model():
    """A small network that is published; tests leave it as it is."""
    keras.utils.set_random_seed(0)
    return zoo.build(publications.NAME, (16, 16, 1), 4, ((70.0,), (8000.25,)))


@pytest.fixture
def double():
    """Builds models in 64 bits, so that what differs is not rounding."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(policy)
