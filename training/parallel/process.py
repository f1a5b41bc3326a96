"""What runs in a worker: it calls the functions that it is asked to."""

import os
import pickle
import signal
import socket
import sys
import traceback
from multiprocessing import connection


class Shared:
    """Stands for a value that every worker gets once; see `Pool.share`.

    Args:
        number: Different for each value of a pool.
    """

    def __init__(self, number: int):
        self.number = number


class Answering:
    """Answers requests one after another, and keeps the values that are shared."""

    def __init__(self):
        self._values = {}

    def answer(self, request: bytes) -> bytes:
        """Returns the pickled answer to a request of `pool`.

        Args:
            request: A pickled pair: a number and the bytes of its value, to keep; or a
                function and its arguments, and the numbers of what to forget.

        Returns:
            A pair of whether it went well, and the value or the exception.
        """
        try:
            return pickle.dumps((True, self._do(*pickle.loads(request))))
        except Exception as error:
            error.add_note(traceback.format_exc())
            return _pickled(error)

    def _do(self, what, given, forgotten=()):
        if not callable(what):
            self._values[what] = pickle.loads(given)
            return None
        for number in forgotten:
            self._values.pop(number, None)
        return what(
            *(self._values[x.number] if isinstance(x, Shared) else x for x in given)
        )


def _pickled(error):
    try:
        answer = pickle.dumps((False, error))
        pickle.loads(answer)  # The constructor of some takes other arguments.
    except Exception:
        text = f"{type(error).__name__}: {error}"
        answer = pickle.dumps((False, RuntimeError(text)))
    return answer


def main():
    """Answers what comes through the socket that is named on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The first process decides.
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(sys.argv[1])
        messages = connection.Connection(link.detach())
    answering = Answering()
    while True:
        try:
            messages.send_bytes(answering.answer(messages.recv_bytes()))
        except (EOFError, ConnectionError):  # The first process has ended.
            sys.stdout.flush()
            os._exit(0)
