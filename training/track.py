"""Progress of a pass over examples: a bar on a terminal, lines in a log elsewhere."""

import contextlib
import sys
import time

from absl import logging


@contextlib.contextmanager
def track(description: str, total: int, period: float = 30.0):
    """Shows how many images are done, how many a second, and the time that remains.

    On a terminal this is a bar, which goes away at the end, else a line in the log
    every `period` seconds.

    Args:
        description: What is done.
        total: The number of images.
        period: Seconds between lines.

    Yields:
        A function that takes the number of images done since its last call.
    """
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(description, total=total, rate=0.0)
            clock = _Clock()

            def advance(count: int):
                rate = clock.rate_after(count)
                bar.update(task, completed=clock.done, rate=rate)

            yield advance
    else:
        clock = _Clock()

        def advance(count: int):
            rate = clock.rate_after(count)
            if clock.is_due(period) and clock.done < total:
                left = (total - clock.done) / rate
                line = "%s: %d of %d images, %.0f images/s, %.0f s left"
                logging.info(line, description, clock.done, total, rate, left)

        yield advance


def _bar():
    from rich import console, progress

    return progress.Progress(
        "{task.description}",
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        "{task.fields[rate]:.0f} images/s",
        progress.TimeRemainingColumn(),
        console=console.Console(stderr=True),
        transient=True,
    )


class _Clock:
    def __init__(self):
        self.begin = self.last = time.monotonic()
        self.done = 0

    def rate_after(self, count):
        self.done += count
        return self.done / max(time.monotonic() - self.begin, 1e-9)

    def is_due(self, period):
        due = time.monotonic() - self.last >= period
        if due:
            self.last = time.monotonic()
        return due
