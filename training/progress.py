"""Progress on a terminal and in a log, and what a training writes of it."""

import contextlib
import json
import pathlib
import sys
import time
from collections.abc import Callable

import keras
from absl import logging

from zoo.storage import files, remote


class Progress:
    """How much is done, how much a second, and the time that remains.

    It is called with a count that is done, and whether that took work now; what lay
    there already does not make the speed look higher.

    Args:
        description: What is done.
        total: How much there is to do.
        show: Called with this object after each step.
    """

    def __init__(
        self, description: str, total: float, show: Callable[["Progress"], None]
    ):
        self.description, self.total, self.done = description, total, 0
        self._show, self._new, self._begin = show, 0, time.monotonic()

    @property
    def rate(self) -> float:
        """How much was done a second."""
        return self._new / max(time.monotonic() - self._begin, 1e-9)

    @property
    def seconds_left(self) -> float:
        """The time that remains, at this speed; infinite before the first step."""
        left = max(self.total - self.done, 0)
        return left / self.rate if self._new else float("inf")

    def __call__(self, count: int, is_new: bool = True):
        self.done += count
        self._new += count * is_new
        self._show(self)

    def expect(self, left: int):
        """Says how much is left to do."""
        self.total = self.done + left

    def describe(self, description: str):
        """Says what is done now."""
        self.description = description


@contextlib.contextmanager
def track(description: str, total: float, period: float = 30.0, unit: str = "images"):
    """Shows how much is done, how much a second, and the time that remains.

    On a terminal this is a bar, which goes away at the end, else a line in the log
    every `period` seconds.

    Args:
        description: What is done.
        total: How much there is to do; infinite if nobody knows.
        period: Seconds between lines.
        unit: What is counted.

    Yields:
        A `Progress`, to be called with how much was done since its last call.
    """
    if sys.stderr.isatty():
        with _progress_bar(unit) as bar:
            known = _known(total)
            task = bar.add_task(description, total=known, rate="0", left="-:--:--")
            yield Progress(description, total, lambda p: _update(bar, task, p))
    else:
        last = time.monotonic()

        def log(progress):
            nonlocal last
            now = time.monotonic()
            if now - last >= period and progress.done < progress.total:
                last = now
                logging.info(
                    f"%s: %d of %s {unit}, %s {unit}/s, %s s left",
                    progress.description,
                    progress.done,
                    _known(progress.total) or "?",
                    _shown(progress.rate),
                    f"{progress.seconds_left:.0f}".replace("inf", "?"),
                )

        yield Progress(description, total, log)


def _update(bar, task, progress):
    left = progress.seconds_left
    minutes, seconds = divmod(int(min(left, 359_999)), 60)
    text = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    bar.update(
        task,
        description=progress.description,
        completed=progress.done,
        total=_known(progress.total),
        rate=_shown(progress.rate),
        left=text if left < float("inf") else "-:--:--",
    )


def _known(total):
    """Returns a number of which there is an end, else None."""
    return None if total == float("inf") else total


def _shown(rate):
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def _progress_bar(unit):
    from rich import console, progress

    return progress.Progress(
        "{task.description}",
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        "{task.fields[rate]} " + f"{unit}/s",
        "{task.fields[left]}",
        console=console.Console(stderr=True),
        transient=True,
    )


def read_rows(path: pathlib.Path) -> list[dict]:
    """Returns the rows of a JSON-lines file, an empty list if there is none."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(path: pathlib.Path, rows: list[dict]):
    """Writes a JSON-lines file; it appears whole or not at all."""
    with files.replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))


class Bar(keras.callbacks.Callback):
    """Shows step, loss, images per second and remaining time.

    On a terminal as a bar, else as a line every `period` seconds.

    Args:
        total_steps: Number of steps of the whole training.
        first_step: Steps that were done before.
        batch_size: Images per step.
        period: Seconds between lines.
    """

    def __init__(
        self,
        total_steps: int,
        first_step: int,
        batch_size: int,
        period: float = 30.0,
    ):
        super().__init__()
        self.total_steps, self.first_step = total_steps, first_step
        self.batch_size, self.period = batch_size, period
        self.done, self.progress = first_step, None
        self.before = first_step

    def start(self):
        """Starts the clock and, on a terminal, the bar."""
        self.begin = self.last = time.monotonic()
        if not sys.stderr.isatty():
            return
        from rich import console, progress

        self.progress = progress.Progress(
            "{task.description}",
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            "loss {task.fields[loss]:.4f}",
            "{task.fields[rate]:.0f} images/s",
            progress.TimeRemainingColumn(),
            console=console.Console(stderr=True),
        )
        self.progress.start()
        self.task = self.progress.add_task(
            "training", total=self.total_steps, completed=self.done, loss=0.0, rate=0.0
        )

    def stop(self):
        """Takes the bar away."""
        if self.progress is not None:
            self.progress.stop()

    def rate(self) -> float:
        """Returns images per second since the start."""
        seconds = max(time.monotonic() - self.begin, 1e-9)
        return (self.done - self.first_step) * self.batch_size / seconds

    def on_epoch_begin(self, epoch, logs=None):
        self.before = self.done

    def on_train_batch_end(self, batch, logs=None):
        # One call may be of several steps, the last of fewer.
        self.done = self.before + min(batch + 1, self.params["steps"])
        rate = self.rate()
        if self.progress is not None:
            self.progress.update(
                self.task, completed=self.done, loss=logs["loss"], rate=rate
            )
        elif time.monotonic() - self.last >= self.period:
            self.last = time.monotonic()
            remaining = (self.total_steps - self.done) * self.batch_size / rate
            logging.info(
                "step %d of %d, loss %.4f, %.0f images/s, %.0f min left",
                self.done,
                self.total_steps,
                logs["loss"],
                rate,
                remaining / 60,
            )


class TensorBoard(keras.callbacks.Callback):
    """Writes the metrics of each epoch for TensorBoard.

    Args:
        folder: Where the event files go.
    """

    def __init__(self, folder: pathlib.Path):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        import tensorflow as tf

        before = set(self.folder.iterdir()) if self.folder.exists() else set()
        writer = tf.summary.create_file_writer(str(self.folder))
        with writer.as_default(step=epoch + 1):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
        writer.close()
        for path in set(self.folder.iterdir()) - before:
            remote.send(path)
