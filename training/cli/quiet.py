"""TensorFlow without the lines that it prints whatever its log level is."""

import contextlib
import importlib.abc
import importlib.util
import os
import re
import sys
import tempfile
import threading

_CHATTER = (
    b"absl::InitializeLog()",
    b"XNNPACK delegate for CPU",
    b"computation placer already registered",
    b"cpu_feature_guard.cc",
    b"cudart_stub.cc",
    b"oneDNN custom operations are on",
    b"oneDNN supports DT_",
    b"rebuild TensorFlow with the appropriate compiler flags",
    b"when one has already been registered",
)
_NO_DRIVER, _NO_CUDA = b"Could not find cuda drivers", b"failed call to cuInit"


@contextlib.contextmanager
def without_chatter():
    """Holds back what is written to standard error inside, and then what is chatter.

    All else, such as errors of TensorFlow, is written when the block ends. That CUDA
    cannot start is chatter on a machine without its driver.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            text = held.read()
            chatter = (*_CHATTER, _NO_CUDA) if _NO_DRIVER in text else _CHATTER
            for line in text.splitlines(keepends=True):
                if not any(words in line for words in chatter):
                    os.write(2, line)


_LOST = (
    b" base_collective_executor.cc:",
    b" ring_alg.cc:",
    b" ring_reducer.cc:",
    b" collective_",
    b" coordination_service",
    b" hierarchical_tree_broadcaster.cc:",
    b" generator_dataset_op.cc:",
)


@contextlib.contextmanager
def without_lost_connections():
    """Leaves out what TensorFlow logs of workers that are gone, as it is written.

    It logs the same error for each operation that waits, over several lines, and then
    raises it. Other lines pass. What Python writes to `sys.stderr` does not go through
    the filter.
    """
    sys.stderr.flush()
    stderr, python = os.dup(2), sys.stderr
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)
    thread = threading.Thread(target=_pass_on, args=(reader, stderr), daemon=True)
    thread.start()
    with os.fdopen(os.dup(stderr), "w", buffering=1) as direct:
        sys.stderr = direct
        try:
            yield
        finally:
            sys.stderr = python
            python.flush()
            os.dup2(stderr, 2)  # The last end of the pipe that is open.
            thread.join(timeout=1)
            os.close(stderr)


def _pass_on(reader, stderr):
    is_left_out = False
    with os.fdopen(reader, "rb") as file:
        for line in file:
            if re.match(rb"[IWEF]\d{4} ", line):  # Others go on with the last one.
                is_left_out = any(words in line for words in _LOST)
            if not is_left_out:
                os.write(stderr, line)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as usual, to be imported without its chatter."""

    def __init__(self):
        self._is_looking = False

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow" or self._is_looking:
            return None
        self._is_looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._is_looking = False
        if spec is not None:
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _import(run, module)
        return spec


def _import(run, module):
    with without_chatter():
        run(module)
        # It looks for GPUs at its first use, and complains that there is no CUDA.
        module.config.list_physical_devices()
        _say_what_onednn_lacks(module)


def _say_what_onednn_lacks(tf):
    """Takes a step that oneDNN does not know for integers: that is told once.

    A session of its own leaves the devices to be set up by whoever uses them.
    """
    with tf.Graph().as_default():
        numbers = tf.compat.v1.placeholder("int64", (1, 1))
        step = tf.transpose(numbers)
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        with tf.compat.v1.Session(config=config) as session:
            session.run(step, {numbers: [[0]]})


def install():
    """Makes imports of TensorFlow from here on quiet, but for its errors.

    With the environment variable `TF_CPP_MIN_LOG_LEVEL=0` it says all that it has to.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") != "0":
        sys.meta_path.insert(0, _Finder())
