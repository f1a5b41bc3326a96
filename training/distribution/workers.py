"""Processes that train one model together, and what they tell each other.

The first of them is the chief: it alone reads and writes the folder of the training.
All run the same code, with an equal share of each batch. Where one ends, so do the
others, and the same command on all of them goes on from the last checkpoint.
"""

import contextlib
import contextvars
import functools
import json
import math
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from training.differences import differences
from training.distribution.cluster import Cluster
from training.versions import versions
from zoo.storage import files, remote

_ARRIVAL = 600.0  # Seconds in which all workers must have started.
_PERIOD = 1.0  # Seconds between two looks at the others.
_REFUSALS = 2  # Looks in a row after which a worker that refuses has ended.
_SILENCE = 12.0  # Seconds after which one that does not answer has.
_GRACE = 5.0  # Seconds in which TensorFlow notices that by itself.
_CHUNK = 2**24  # Integers of 4 bytes that are sent at once.
# What TensorFlow can send of initial values.
_SENT = ("bool", "float16", "float32", "float64", "int32", "int64")

_GROUP = 2**30  # TensorFlow counts its own groups from 1.

_ACTIVE = contextvars.ContextVar("workers", default=None)
_scratch: set[pathlib.Path] = set()


class Workers:
    """The workers of a training; a context in which it is built and run.

    Args:
        cluster: Who they are. All must have started within ten minutes.

    Raises:
        ConnectionError: If this worker cannot listen at its address.
        ValueError: If TensorFlow has computed something already, or workers have
            different numbers of GPUs.
    """

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self._watch = _Watch(cluster)
        try:
            with self._watch.until_all_have_come():
                self.strategy = _strategy(cluster)
            _check_equal(cluster, self.strategy)
        except BaseException as error:
            self._watch.stop()
            raise self._explained(error) or error from None

    @property
    def replicas(self) -> range:
        """The numbers of the replicas of this process, among those of all."""
        local = self.strategy.num_replicas_in_sync // len(self.cluster.addresses)
        return range(self.cluster.index * local, (self.cluster.index + 1) * local)

    def __enter__(self):
        import tensorflow as tf

        if not self._watch.is_alive():  # It is entered again.
            self._watch = _Watch(self.cluster)
            self._watch.start()
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self.strategy.scope())
        self._stack.enter_context(tf.variable_creator_scope(self._create))
        self._token = _ACTIVE.set(self)
        return self

    def __exit__(self, kind, error, traceback):
        try:
            if error is None:
                gather("end")  # None is gone before the others need it no more.
        except Exception as late:
            raise self._explained(late) or late from None
        finally:
            self._watch.stop()
            _ACTIVE.reset(self._token)
            self._stack.close()
        if explained := error and self._explained(error):
            raise explained from None

    def _create(self, create, **settings):
        """Makes a variable, without a broadcast if TensorFlow has none for it."""
        import tensorflow as tf

        if tf.as_dtype(settings.get("dtype") or "float32").name in _SENT:
            return create(**settings)
        # Private, for TensorFlow has no other way to leave the broadcast out.
        extended = self.strategy.extended
        count, extended._num_workers = extended._num_workers, 1
        try:
            return create(**settings)
        finally:
            extended._num_workers = count

    def _explained(self, error):
        """Returns an error in one line for one of TensorFlow, if others cause it."""
        import tensorflow as tf

        if not isinstance(error, tf.errors.OpError) or len(self.cluster.addresses) < 2:
            return None
        gone = self._watch.find_gone()
        if gone is not None:
            return ConnectionError(_ended(self.cluster, gone))
        lost = (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
        )
        if not isinstance(error, lost):
            return None
        first = str(error.message).splitlines()[0]
        return ConnectionError(
            f"The connection to the other workers is lost: {first} {_AGAIN}"
        )


_AGAIN = (
    "All workers end; start the same command on all of them again, and the training "
    "goes on from its last checkpoint."
)


def _ended(cluster, index):
    who = cluster.name(index)
    return f"{who[0].upper()}{who[1:]} has ended, or cannot be reached. {_AGAIN}"


@functools.cache
def join(cluster: Cluster) -> Workers:
    """Returns the workers of a cluster, after all of them have come.

    Raises:
        ConnectionError: See `Workers`.
        ValueError: See there; a process can join one cluster.
    """
    return Workers(cluster)


@functools.cache
def _strategy_class():
    import tensorflow as tf

    class Strategy(tf.distribute.MultiWorkerMirroredStrategy):
        """A strategy that can do what Keras asks for.

        The `fit` of Keras 3.15 asks for the mean of a whole batch over the replicas,
        whose shapes it wants, and for the mean of scalars over their first axis.
        """

        def reduce(self, reduce_op, value, axis):
            if isinstance(value, (tuple, list, dict)):
                return tf.nest.map_structure(self._first, value)
            if axis == 0 and self._first(value).shape.rank == 0:
                axis = None
            return super().reduce(reduce_op, value, axis)

        def _first(self, value):
            return self.experimental_local_results(value)[0]

    return Strategy


def _strategy(cluster):
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
    )
    try:
        return _strategy_class()(resolver)
    except RuntimeError as error:
        raise ValueError(
            "A distribution over several workers must begin before TensorFlow computes "
            f"anything in this process: {error}"
        ) from error
    except tf.errors.UnknownError as error:
        raise ConnectionError(
            f"Cannot listen at {cluster.addresses[cluster.index]}, the address of "
            f"worker {cluster.index}: is there another process? {error.message}"
        ) from error


def _check_equal(cluster, strategy):
    """Checks that all workers have equally many devices, as the strategy takes it."""
    import tensorflow as tf

    index, count = cluster.index, len(cluster.addresses)
    if count == 1:
        return
    own = strategy.num_replicas_in_sync // count
    # A group of one device of each worker; those of the strategy would be of different
    # sizes.
    with tf.device(f"/job:worker/task:{index}/device:CPU:0"):
        found = tf.raw_ops.CollectiveReduceV2(
            input=tf.one_hot(index, count, own, dtype="int32"),
            group_size=count,
            group_key=_GROUP,
            instance_key=_GROUP,
            ordering_token=[],
            merge_op="Add",
            final_op="Id",
            communication_hint="ring",
        ).numpy()
    if len({*found}) > 1:
        there = (f"{n} on {cluster.name(i)}" for i, n in enumerate(found))
        raise ValueError(
            "All workers need the same number of GPUs; CUDA_VISIBLE_DEVICES chooses "
            f"which ones a process sees. Received: {', '.join(there)}"
        )


class _Watch(threading.Thread):
    """Looks every second whether the others are there, and ends the process if not.

    TensorFlow tells a process that waits for another one, mostly within seconds, that
    this one is gone. It does not tell it while it does something else or before all are
    connected. The chief looks at all, the others at the chief, which ends as well.
    """

    def __init__(self, cluster):
        super().__init__(name="watch of the workers", daemon=True)
        self.cluster = cluster
        others = range(1, len(cluster.addresses))
        self._watched = others if cluster.index == 0 else (0,)
        self._seen, self._refusals, self._answered = set(), {}, {}
        self._end, self._arrival = threading.Event(), None

    @contextlib.contextmanager
    def until_all_have_come(self):
        self._arrival = time.monotonic() + _ARRIVAL
        self.start()
        yield
        self._seen.update(self._watched)
        self._arrival = None

    def stop(self):
        self._end.set()

    def run(self):
        while not self._end.wait(_PERIOD):
            for index in self._watched:
                if self._is_gone(index):
                    if not self._end.wait(_GRACE):
                        end(_ended(self.cluster, index))
                    return
            if self._arrival and time.monotonic() > self._arrival:
                missing = [i for i in self._watched if i not in self._seen]
                names = ", ".join(map(self.cluster.name, missing or [0]))
                end(
                    f"Did not start within {_ARRIVAL:.0f} seconds: {names}. All "
                    "workers end; start the same command on all of them."
                )
                return

    def find_gone(self):
        """Returns the number of a worker that is gone, if it shows within seconds."""
        self._seen.update(range(len(self.cluster.addresses)))
        for _ in range(_REFUSALS + 2):
            for index in range(len(self.cluster.addresses)):
                if index != self.cluster.index and self._is_gone(index):
                    return index
            time.sleep(_PERIOD / 2)
        return None

    def _is_gone(self, index):
        now = time.monotonic()
        host, _, port = self.cluster.addresses[index].rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), 1.0).close()
        except ConnectionRefusedError:
            self._refusals[index] = self._refusals.get(index, 0) + 1
        except OSError:
            pass
        else:
            self._seen.add(index)
            self._refusals[index], self._answered[index] = 0, now
        if index not in self._seen:
            return False
        silence = now - self._answered.setdefault(index, now)
        return self._refusals.get(index, 0) >= _REFUSALS or silence > _SILENCE


def end(message):
    """Ends the process with a line, whatever TensorFlow's other threads wait for."""
    print(f"Error: {message}", file=sys.stderr, flush=True)
    os._exit(1)


def active() -> Workers | None:
    """Returns the workers in whose context this is, or None."""
    return _ACTIVE.get()


def is_chief() -> bool:
    """Returns whether this process writes: it trains alone or is the first worker."""
    together = active()
    return together is None or together.cluster.index == 0


def _sum(values):
    """Returns the sum over all workers of an int32 array, whose size all know."""
    import tensorflow as tf

    together = active()
    strategy, first = together.strategy, together.replicas.start
    parts = []
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]

        def own(context, part=part):
            is_first = context.replica_id_in_sync_group == first
            return tf.constant(part if is_first else np.zeros_like(part))

        shared = strategy.experimental_distribute_values_from_function(own)
        parts.append(strategy.reduce("SUM", shared, axis=None).numpy())
    return np.concatenate(parts) if parts else values


def gather(value) -> list:
    """Returns what each worker gives, in their order; all must call it.

    Args:
        value: Something that JSON has.
    """
    together = active()
    if together is None:
        return [value]
    index, count = together.cluster.index, len(together.cluster.addresses)
    text = np.frombuffer(json.dumps(value).encode(), "uint8")
    lengths = np.zeros(count, "int32")
    lengths[index] = len(text)
    ends = np.cumsum(_sum(lengths))
    table = np.zeros(ends[-1], "int32")
    table[ends[index] - len(text) : ends[index]] = text
    whole = _sum(table).astype("uint8").tobytes()
    starts = [0, *ends[:-1]]
    return [json.loads(whole[a:b]) for a, b in zip(starts, ends, strict=True)]


def agree(settings: Mapping):
    """Checks that all workers have the settings of the chief, and the same versions.

    Args:
        settings: What JSON has.

    Raises:
        ValueError: On all of them, if one has others: it says which worker, and in
            what they differ.
    """
    together = active()
    if together is None:
        return
    own = {**settings, "versions": dict(v.rsplit(" ", 1) for v in versions())}
    chief, *others = gather(own)
    words = (
        "is {} on the chief",
        "is not set on the chief",
        "is {} there",
        "is not set there",
    )
    wrong = [
        f"on {together.cluster.name(i)}, {odd}"
        for i, other in enumerate(others, 1)
        if (odd := differences(chief, other, words))
    ]
    if wrong:
        more = f"; and on {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            "The workers are not set up for the same training: "
            f"{'; '.join(wrong[:3])}{more}. Start the same command with the same data "
            "and packages on all of them."
        )


@contextlib.contextmanager
def folder(
    workdir: str | pathlib.Path, names: Sequence[str] = ()
) -> Iterator[pathlib.Path]:
    """Gives the folder that a process writes to.

    Args:
        workdir: The folder of the training, a path or a URL.
        names: Files that a training goes on from, which are read from behind a URL.

    Yields:
        The same for the chief, or a copy as `zoo.storage.remote.local` gives it. Others
        get a temporary folder, so that `workdir` may be one that only the chief has, or
        one that all share.
    """
    path = pathlib.Path(workdir)
    if is_chief() or path in _scratch:
        with remote.local(workdir, names) as path:
            yield path
        return
    with tempfile.TemporaryDirectory(prefix="worker") as name:
        path = pathlib.Path(name)
        _scratch.add(path)
        try:
            yield path
        finally:
            _scratch.discard(path)


def send(path: pathlib.Path):
    """Gives all workers a file of the chief, or takes theirs away if it has none.

    Args:
        path: In the folder that `folder` gives.
    """
    if active() is None:
        return
    digests = gather(files.sha256(path) if path.exists() else None)
    if len({*digests}) == 1:
        return
    if digests[0] is None:
        if not is_chief():
            path.unlink(missing_ok=True)
        return
    content = path.read_bytes() if is_chief() else b""
    size = gather(len(content))[0]
    values = np.zeros(-(-size // 4), "int32")
    values.view("uint8")[: len(content)] = np.frombuffer(content, "uint8")
    values = _sum(values)
    if not is_chief():
        logging.info("Received '%s' from the chief.", path.name)
        with files.replacing(path) as temporary:
            temporary.write_bytes(values.view("uint8")[:size].tobytes())


class Timer:
    """Says after a step whether it is time for something, to all workers alike.

    They cannot look at their own clocks. The chief looks at its own, and says when the
    others should ask again; steps in between cost nothing.

    Args:
        seconds: Between two times.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.restart()

    def restart(self):
        """Begins anew, after what it was time for."""
        self._begin, self._steps, self._next = time.monotonic(), 0, 1

    def is_due(self) -> bool:
        """Returns whether it is time; to be called once after each step."""
        self._steps += 1
        spent = time.monotonic() - self._begin
        if active() is None:
            return spent >= self.seconds
        if self._steps < self._next:
            return False
        left = self.seconds - spent
        wait = math.ceil(left / spent * self._steps) if left > 0 else 0
        wait = gather(min(wait, 10 * self._steps))[0]
        self._next = self._steps + wait
        return wait == 0
