"""A command of the product in a forked process, with narrow networks."""

import configparser
import importlib
import os
import pathlib
import re
import runpy
import shutil
import signal
import sys
import traceback
from unittest import mock

import keras
import numpy as np

from tests.full_size import networks, validation
from tests.full_size.job import Step
from tests.helpers import markdown
from training import corruptions
from training.data.readers import fashion_mnist
from zoo.posterior import Temperature
from zoo.posterior.scaler import NoBestFitError

ROOT = pathlib.Path(__file__).parents[2]


def preload():
    """Imports what all commands need, so that a fork has it; flags are of one alone."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow_datasets  # noqa: F401

        importlib.import_module("training.export")
    for name in (
        "training.run",
        "training.evaluation.command",
        "training.publishing.publish_training",
    ):
        importlib.import_module(name)
    importlib.import_module("training.cli.common")


def start(
    step: Step,
    folder: pathlib.Path,
    log: pathlib.Path,
    inputs: pathlib.Path,
    devices: int = 1,
    packaged: bool = False,
    updates: int | None = None,
) -> int:
    """Forks a process that runs a command, and returns its number.

    Args:
        step: The command: one of the product, `python -m` of it, `examples` and the
            path of a Markdown file, or a key of `OWN` and its arguments.
        folder: Where to run it.
        log: Its output is added to this file.
        inputs: The folder of `tests.full_size.inputs`.
        devices: The number of logical devices.
        packaged: Whether the weights of the package are those in the folder.
        updates: Number of updates in each epoch, or None for all.
    """
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        os.chdir(folder)
        # Shells start what they put into the background with this signal ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w", buffering=1)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        _split(devices)
        with (
            networks.Narrow(folder / "packaged" if packaged else inputs / "zoo"),
            mock.patch.object(fashion_mnist, "DEBIAN", inputs / "fashion_mnist"),
            mock.patch.object(corruptions, "corrupt_all", _brighter),
            mock.patch.object(keras.Model, "fit", _fit(step, updates)),
        ):
            code = _run(step.words)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _split(devices):
    """Divides the processor into logical devices."""
    if keras.backend.backend() == "jax":
        # XLA ends a process one of whose devices is 40 s later than the others, which
        # happens on a busy machine.
        os.environ["XLA_FLAGS"] = (
            f"--xla_force_host_platform_device_count={devices} "
            "--xla_cpu_collective_call_terminate_timeout_seconds=300"
        )
        return
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, parts)


def _brighter(images, name, severity, first=0):
    """In place of all corruptions, some of which take seconds for an image."""
    return np.minimum(images, 255 - 20 * severity) + np.uint8(20 * severity)


def _fit(step, updates):
    """Returns Keras' `fit` with epochs of fewer updates, and with a stop."""
    original = keras.Model.fit

    class Stop(keras.callbacks.Callback):
        def __init__(self, after):
            super().__init__()
            self.after = after

        def on_train_batch_end(self, batch, logs=None):
            if batch + 1 == self.after:
                os.kill(os.getpid(), signal.SIGINT)

    def fit(self, *args, steps_per_epoch=None, callbacks=(), **kwargs):
        iterations = getattr(self.optimizer, "iterations", 0)
        done = int(keras.ops.convert_to_numpy(iterations))
        if steps_per_epoch and updates and not step.whole:
            steps_per_epoch = min(steps_per_epoch, updates - done % updates)
        if step.stop_after:
            callbacks = [*callbacks, Stop(step.stop_after - done)]
        kwargs |= {"steps_per_epoch": steps_per_epoch, "callbacks": callbacks}
        return original(self, *args, **kwargs)

    return fit


def _run(words) -> int:
    print("$", " ".join(words), flush=True)
    command, *arguments = words
    try:
        if command == "examples":
            _examples(pathlib.Path(*arguments))
        elif command in OWN:
            OWN[command](*arguments)
        elif command == "python":
            sys.argv = list(words[2:])
            runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(words)
            importlib.import_module(entry_points()[command]).run()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def entry_points() -> dict[str, str]:
    """Returns the modules of the commands."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    scripts = parser["options.entry_points"]["console_scripts"]
    return dict(re.findall(r"(\S+) = (\S+):run", scripts))


def _examples(path):
    """Runs the Python code of a Markdown file."""
    namespace = {"__name__": path.stem}
    with mock.patch.object(Temperature, "fit", _fitted):
        for block in markdown.blocks(path, "python"):
            code = "\n" * (block.line - 1) + block.code  # Errors then name the line.
            exec(compile(code, path, "exec"), namespace)


def _fitted(posterior, logits, labels, fit=Temperature.fit):
    """In place of `fit`: networks that are not trained may have no best temperature."""
    try:
        return fit(posterior, logits, labels)
    except NoBestFitError:
        return {"temperature": 1.0}


def _copy(name):
    pathlib.Path(name).parent.mkdir(exist_ok=True)
    shutil.copy(ROOT / name, name)


OWN = {
    "copy": _copy,
    "validate": validation.validate,
}
