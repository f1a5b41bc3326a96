"""Which workers a command has, and when they pay."""

import collections
import contextlib
import importlib.util
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator

from absl import logging

from training import processor
from training.parallel import local
from training.parallel.pool import Engine, Pool

# Starting processes takes seconds of each: work that would take longer than the second
# number is shared among them, when its speed is known after the first.
_FIRST, _LEFT = 10.0, 90.0
_MEMORY = 2 * 2**30  # Bytes that a process needs, about.
_CLUSTER = re.compile(r"ray(:(?P<address>.+))?")


class Workers:
    """The workers of a command, that are started when they are needed.

    Args:
        engine: Makes what starts them; None for none at all.
        seconds: How long the work must take, with this process alone, for workers to be
            started; 0 for any work.

    Attributes:
        started: The pool of those that were started, or None.
    """

    def __init__(self, engine: Callable[[], Engine] | None, seconds: float = 0.0):
        self._engine, self._seconds, self.started = engine, seconds, None
        self._stack, self._seen = contextlib.ExitStack(), None

    def pool(self, progress=None) -> Pool | None:
        """Returns the workers, or None while this process does the work alone.

        Args:
            progress: A `training.progress.Progress` of the work; without one, nothing
                is known of how long it takes.
        """
        if self.started is None and self._engine is not None and self._is_due(progress):
            engine = self._engine()
            logging.info("%d workers share what is left.", engine.num_workers)
            self.started = self._stack.enter_context(Pool(engine))
        return self.started

    def each(self, calls: Iterable[tuple[object, Callable]]) -> Iterator[tuple]:
        """Yields keys and what the functions return, in their order.

        Args:
            calls: Pairs of a key and a function without arguments, which workers call
                if there are any.
        """
        pool, waiting = self.pool(), collections.deque()
        for key, call in calls:
            if pool is None:
                yield key, call()
                continue
            waiting.append((key, pool.submit(call)))
            if len(waiting) > 2 * pool.num_workers:
                first, future = waiting.popleft()
                yield first, future.result()
        yield from ((key, future.result()) for key, future in waiting)

    def _is_due(self, progress):
        if not self._seconds:
            return True
        if progress is None:
            return False
        now = time.monotonic()
        if self._seen is None:  # What was compiled before does not count.
            self._seen = now, progress.done
        seconds, done = now - self._seen[0], progress.done - self._seen[1]
        left = progress.total - progress.done
        return seconds >= _FIRST and left * seconds > self._seconds * done

    def __enter__(self):
        return self

    def __exit__(self, *given):
        return self._stack.__exit__(*given)


def of_command(jobs: int | None = None, cluster: str | None = None) -> Workers:
    """Returns the workers that the flags of a command ask for.

    Args:
        jobs: How many; 1 for none beside this process. By default, on a machine of
            several cores and no GPU, a process for each core, as soon as it pays; and
            on a cluster one for each GPU, or for each core.
        cluster: `"ray"`, or `"ray:<address>"` of the head node, for workers on a
            cluster in place of processes of this machine.

    Raises:
        ValueError: If `cluster` is something else.
        ImportError: If Ray is not installed.
    """
    if cluster:
        address = check_cluster(cluster)

        def engine():
            from training.parallel import ray_cluster

            return ray_cluster.Cluster(address, jobs)

        return Workers(engine)
    if jobs == 1 or not hasattr(os, "fork"):
        return Workers(None)
    num_gpus = _num_gpus()
    if jobs is not None:
        return Workers(lambda: local.Processes(jobs, num_gpus=num_gpus))
    fitting = 1 if num_gpus else min(processor.num_cores(), _room() // _MEMORY)
    if fitting < 2:
        return Workers(None)
    return Workers(lambda: local.Processes(fitting), _LEFT)


def check_cluster(cluster: str) -> str | None:
    """Returns the address in the name of a cluster, if it has one.

    Raises:
        ValueError: If it is not the name of a cluster.
        ImportError: If Ray is not installed.
    """
    found = _CLUSTER.fullmatch(cluster)
    if not found:
        raise ValueError(
            "`--cluster` must be ray, or ray:<host>:<port> for the address of a head "
            f"node. Received: cluster={cluster}"
        )
    try:
        is_there = importlib.util.find_spec("ray") is not None
    except ValueError:  # It is kept from being imported.
        is_there = False
    if not is_there:
        raise ImportError(
            "The workers of a cluster are those of Ray: "
            "`pip install smoothzoo[cluster]`."
        )
    return found["address"]


def _num_gpus():
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return sum(device.platform != "cpu" for device in jax.local_devices())
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


def _room() -> int:
    """Returns the bytes of memory that are free."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
