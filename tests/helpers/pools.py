"""Workers without the seconds that an import takes, and what they are given to do."""

import os
import pathlib
import signal
import time

from tests.helpers import processes
from tests.helpers.data_sets import Slices
from training.parallel.local import Processes


def forks(num_workers):
    """Returns an engine whose workers are forks of a process with TensorFlow."""

    def start(command, env, **_):
        return processes.start(command, env=env)

    return Processes(num_workers, start=start)


class Deadly(Slices):
    """Images, one of which kills the process that reads it.

    Args:
        images: The images.
        number: The number of that image.
        once: The path of a file that is made then; it kills once alone. None to kill
            each time.
    """

    def __init__(self, images, number, once=None):
        super().__init__(images)
        self.number, self.once, self.owner = number, once, os.getpid()

    def fingerprint(self):
        return str(self.stored.sum())

    def __getitem__(self, index):
        found = super().__getitem__(index)
        is_there = self.number in range(len(self))[index]
        if is_there and os.getpid() != self.owner:
            if self.once is None:
                os.kill(os.getpid(), signal.SIGKILL)
            elif not pathlib.Path(self.once).exists():
                pathlib.Path(self.once).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return found


def die():
    """Kills the process."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(path):
    """Kills the process if there is no file at a path, and makes it."""
    if not pathlib.Path(path).exists():
        pathlib.Path(path).touch()
        die()
    return os.getpid()


def fail(name):
    """Raises an error."""
    raise FileNotFoundError(f"There is no '{name}'.")


def sleep(seconds):
    """Sleeps, and returns the number of the process."""
    time.sleep(seconds)
    return os.getpid()


class Counted:
    """A value that notes in a file each time that it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        self.__dict__.update(state)
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()}\n")

    def add(self, number):
        """Returns the number, from the process that has the value."""
        return number, os.getpid()


def add(counted, number):
    """Calls a method of a shared value."""
    return counted.add(number)
