"""A pool of workers that call functions, and outlive the death of some of them."""

import collections
import itertools
import pickle
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Protocol

from absl import logging

from training.parallel.process import Shared

# Of a call, that may end a worker, and of a worker, that may fail to start.
ATTEMPTS = 3


class WorkerDiedError(ChildProcessError):
    """A worker ended before it had answered."""


class Worker(Protocol):
    """A process that answers one request at a time.

    Attributes:
        name: What messages call it.
    """

    name: str

    def ask(self, request: bytes) -> bytes:
        """Returns what `training.parallel.process.Answering.answer` makes of it.

        Raises:
            WorkerDiedError: If the process has ended, or ends.
        """

    def stop(self) -> None:
        """Ends the process at once, in the middle of an answer too."""


class Engine(Protocol):
    """What starts workers.

    Attributes:
        num_workers: How many of them there should be at a time.
    """

    num_workers: int

    def start(self, number: int) -> Worker:
        """Returns a new worker when it can answer.

        Args:
            number: Below `num_workers`; that of a worker whose place it takes.

        Raises:
            WorkerDiedError: If it does not start.
        """

    def close(self) -> None:
        """Frees what workers had in common, and ends those that are starting."""


class _Call:
    def __init__(self, function, args, attempts):
        self.function, self.args, self.attempts = function, args, attempts
        self.deaths, self.future = 0, futures.Future()


class Pool:
    """Calls functions in the workers of an engine.

    A thread of this process waits for each worker. What a worker that dies was asked to
    do, another one does.

    Use it as a context: all workers end with it.

    Args:
        engine: Starts the workers.
    """

    def __init__(self, engine: Engine):
        self.num_workers = engine.num_workers
        self._engine, self._workers = engine, {}
        self._calls, self._changed = collections.deque(), threading.Condition()
        self._shared, self._numbers = {}, itertools.count()
        self._known = {}  # What is shared, by identity.
        self._is_closed, self._failed, self._broken = False, None, None
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), daemon=True)
            for number in range(self.num_workers)
        ]
        self._serving = len(self._threads)
        for thread in self._threads:
            thread.start()

    def share(self, value) -> Shared:
        """Returns what stands for a value in `submit`; each worker gets it once.

        Args:
            value: An object that can be pickled. It is kept until `forget`, and the
                same object is shared once.
        """
        if id(value) not in self._known:
            content = pickle.dumps(value)
            with self._changed:
                number = next(self._numbers)
                self._shared[number] = content
            self._known[id(value)] = value, Shared(number)
        return self._known[id(value)][1]

    def forget(self, value):
        """Says that no later call needs a value, if it was shared."""
        if found := self._known.pop(id(value), None):
            with self._changed:
                self._shared.pop(found[1].number, None)

    def submit(
        self, function: Callable, *args, attempts: int | None = None
    ) -> futures.Future:
        """Calls a function in the first worker that is free.

        Args:
            function: Of a module.
            *args: Its arguments; a worker sees the value of one that is `Shared`.
            attempts: How many workers may die of it, by default three. The future then
                has the `WorkerDiedError`.
        """
        call = _Call(function, args, attempts or ATTEMPTS)
        with self._changed:
            if self._broken is not None:
                raise self._broken
            self._calls.append(call)
            self._changed.notify()
        return call.future

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._changed:
            self._is_closed = True
            workers = list(self._workers.values())
            self._changed.notify_all()
        for worker in workers:
            worker.stop()
        self._engine.close()
        for thread in self._threads:
            thread.join()

    def _serve(self, number):
        try:
            while (worker := self._start(number)) is not None:
                self._give_calls(worker)
        finally:
            self._leave()

    def _start(self, number):
        """Returns a new worker; None if the pool is closed or none comes up."""
        for attempt in range(1, ATTEMPTS + 1):
            if self._is_closed:
                return None
            try:
                worker = self._engine.start(number)
            except Exception as error:
                if attempt == ATTEMPTS:
                    self._failed = error
                continue
            with self._changed:
                self._workers[number] = worker
                is_late = self._is_closed
            if not is_late:
                return worker
            worker.stop()
        return None

    def _leave(self):
        """Fails all calls if there is nobody left to answer them."""
        with self._changed:
            self._serving -= 1
            if self._serving or self._is_closed:
                return
            self._broken = self._failed
            calls = list(self._calls)
            self._calls.clear()
        for call in calls:
            call.future.set_exception(self._broken)

    def _next(self):
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._is_closed)
            return None if self._is_closed else self._calls.popleft()

    def _give_calls(self, worker):
        """Gives a worker one call after another, until one of them dies."""
        held = set()
        while (call := self._next()) is not None:
            if not call.deaths and not call.future.set_running_or_notify_cancel():
                continue
            try:
                is_value, answer = self._answer(worker, held, call)
            except WorkerDiedError as error:
                self._bury(worker, call, error)
                return
            except Exception as error:  # Such as of what cannot be pickled.
                is_value, answer = False, error
            if is_value:
                call.future.set_result(answer)
            else:
                call.future.set_exception(answer)

    def _answer(self, worker, held, call):
        with self._changed:
            needed = {x.number for x in call.args if isinstance(x, Shared)} - held
            new = {number: self._shared[number] for number in needed}
            forgotten = held - self._shared.keys()
        for number, content in new.items():
            is_value, answer = pickle.loads(worker.ask(pickle.dumps((number, content))))
            if not is_value:
                return is_value, answer
            held.add(number)
        held -= forgotten
        request = pickle.dumps((call.function, call.args, forgotten))
        return pickle.loads(worker.ask(request))

    def _bury(self, worker, call, error):
        worker.stop()
        if self._is_closed:
            return
        call.deaths += 1
        if call.deaths >= call.attempts:
            call.future.set_exception(error)
            return
        logging.warning("%s; what it did is done again.", error)
        with self._changed:
            self._calls.appendleft(call)
            self._changed.notify()
