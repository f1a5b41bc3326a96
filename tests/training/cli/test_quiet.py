"""What TensorFlow prints in commands."""

import os
import subprocess
import sys

import pytest

from tests.helpers.commands import environment
from training.cli import quiet

GREETING = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:17 1 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU \
will not be used.
I0000 00:00:17 1 util.cc:153] oneDNN custom operations are on. You may see slightly \
different numerical results
"""
CUDA = "E0000 00:00:17 1 cuda_platform.cc:52] failed call to cuInit: INTERNAL: 303\n"
ERROR = "E0000 00:00:17 1 kernel.cc:7] Out of memory\n"


@pytest.mark.parametrize(
    "text, expected",
    [
        (GREETING + ERROR + CUDA + "Warning: mine\n", ERROR + "Warning: mine\n"),
        (CUDA, CUDA),  # There is a driver, and it does not work.
        ("no end of line", "no end of line"),
        ("", ""),
    ],
)
def test_errors_are_seen_and_chatter_is_not(text, expected, capfd):
    with quiet.without_chatter():
        os.write(2, text.encode())
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == expected


def test_what_an_exception_leaves_is_written_before_it(capfd):
    def fail():
        print("first", file=sys.stderr)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), quiet.without_chatter():
        fail()
    print("second", file=sys.stderr)
    assert capfd.readouterr().err == "first\nsecond\n"


CODE = """
import importlib.util
import sys
import training.cli
sys.modules["keras"] = None  # TensorFlow looks for it, and it takes as long again.
importlib.util.find_spec("tensorflow")  # As Keras looks whether it is there.
import tensorflow as tf
devices = tf.config.list_physical_devices("CPU")
half = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(devices[0], [half, half])  # Not too late.
tf.transpose(tf.ones((2, 2), "int64"))  # oneDNN has none.
print(len(tf.config.list_logical_devices("CPU")))
"""


@pytest.mark.parametrize(
    "level",
    [{}, pytest.param({"TF_CPP_MIN_LOG_LEVEL": "2"}, marks=pytest.mark.slow)],
)
def test_a_command_begins_in_silence(level):
    result = subprocess.run(
        [sys.executable, "-c", CODE],
        env=environment() | level,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (result.stdout, result.stderr) == ("2\n", "")
