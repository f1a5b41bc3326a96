"""What a training on several devices does to the process that it runs in."""

import platform
import sys

import keras
import pytest

from tests.helpers import processes
from training import distribution

# Page faults of tensors of 8 MB, after what TensorFlow does to `malloc`.
SCRIPT = """
import ctypes, resource, sys
import numpy as np
from training import distribution

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.empty(2**20).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

ctypes.CDLL(None).mallopt(-1, 2**17)
given_back = faults()
distribution.KeptMemory().on_train_batch_end(0)
faults()
print(given_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_is_freed_is_used_again():
    command = [sys.executable, "-c", SCRIPT]
    result = processes.run(command, check=True)
    given_back, kept = map(int, result.stdout.split()[-2:])
    # Pages are of 4 kB or, by transparent huge pages, up to 2 MB.
    assert given_back >= 50 * 4
    assert kept < given_back / 20


@pytest.mark.parametrize(
    "backend, kind",
    [("jax", distribution.OneByOne), ("tensorflow", distribution.KeptMemory)],
)
def test_several_devices_have_a_callback_of_their_backend(monkeypatch, backend, kind):
    assert distribution.callbacks() == []
    monkeypatch.setattr(distribution, "num_replicas", lambda: 8)
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    assert [type(callback) for callback in distribution.callbacks()] == [kind]


def test_keras_sees_that_batches_of_an_evaluation_have_a_callback():
    # It looks at what is overridden; without it all batches start at once.
    own, default = distribution.OneByOne, keras.callbacks.Callback
    assert own.on_test_batch_end is not default.on_test_batch_end
    assert own.on_train_batch_end is default.on_train_batch_end
