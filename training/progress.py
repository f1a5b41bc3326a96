"""Progress of a training: a bar, lines in a log, metrics as JSON lines, TensorBoard."""

import json
import pathlib
import sys
import time

import keras
from absl import logging

from zoo import files


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
        total_steps: Of the whole training.
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

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
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

        writer = tf.summary.create_file_writer(str(self.folder))
        with writer.as_default(step=epoch + 1):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
        writer.close()
