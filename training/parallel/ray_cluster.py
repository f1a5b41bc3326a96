"""Workers on the nodes of a Ray cluster."""

import contextlib
import os
import re
import socket
import threading

from absl import logging

from training.parallel import process
from training.parallel.local import few_threads
from training.parallel.pool import WorkerDiedError

_PATIENCE = 60  # Seconds until it is said that workers wait for a free place.


class Cluster:
    """Starts actors, each with a core or, where there are any, a GPU.

    Args:
        address: Address of the head node, `host:port`. By default `RAY_ADDRESS`, or the
            cluster that runs on this machine, or a new one of this machine alone.
        num_workers: How many workers there should be at a time; by default one for
            each GPU of the cluster, or else for each core.

    Raises:
        ConnectionError: If there is no cluster at that address.
    """

    def __init__(self, address: str | None = None, num_workers: int | None = None):
        import ray

        self._ray = ray
        self._is_own = not ray.is_initialized()
        if self._is_own:
            _connect(ray, address)
        there = ray.cluster_resources()
        gpus, cores = int(there.get("GPU", 0)), int(there.get("CPU", 1))
        self.num_workers = num_workers or gpus or max(cores, 1)
        self._options = {
            "num_cpus": min(1.0, cores / self.num_workers),
            "num_gpus": min(1.0, gpus / self.num_workers),
        }
        threads = max(1, cores // self.num_workers) if gpus else 1
        self._environment = {**few_threads(threads), **_backend()}
        self._actor, self._is_closed = ray.remote(Actor), threading.Event()

    def start(self, number: int) -> "ActorWorker":
        actor = self._actor.options(**self._options).remote(self._environment)
        hello, seconds = actor.hello.remote(), 0
        try:
            while not self._is_closed.is_set():
                if self._ray.wait([hello], timeout=1.0)[0]:
                    return self._checked(number, actor, self._ray.get(hello))
                seconds += 1
                if seconds == _PATIENCE:
                    logging.warning("Worker %d waits for a free node.", number)
        except self._ray.exceptions.RayError as error:
            raise _died(f"Worker {number}", error) from None
        raise WorkerDiedError(f"Worker {number} was not started in time")

    def _checked(self, number, actor, hello):
        node, theirs = hello
        from training import versions

        name, ours = f"Worker {number} on node {node}", list(versions.versions())
        if theirs != ours:
            raise ValueError(
                f"{name} has other versions than this process: "
                f"{', '.join(sorted({*theirs} - {*ours}))}. Expected: {', '.join(ours)}"
            )
        return ActorWorker(self._ray, actor, name)

    def close(self):
        self._is_closed.set()
        if self._is_own:
            self._ray.shutdown()


class ActorWorker:
    """An actor that answers requests."""

    def __init__(self, ray, actor, name: str):
        self._ray, self._actor, self.name = ray, actor, name

    def ask(self, request: bytes) -> bytes:
        try:
            return self._ray.get(self._actor.answer.remote(request))
        except self._ray.exceptions.RayError as error:
            raise _died(self.name, error) from None

    def stop(self):
        with contextlib.suppress(Exception):  # It may have ended, or its node.
            self._ray.kill(self._actor)


class Actor:
    """What Ray runs on a node.

    Args:
        environment: Variables that are set before Keras is imported.
    """

    def __init__(self, environment: dict[str, str]):
        os.environ.update(environment)
        self._answering = process.Answering()

    def hello(self) -> tuple[str, list[str]]:
        """Returns the address of the node, and the versions that are there."""
        import ray

        from training import versions

        return ray.util.get_node_ip_address(), list(versions.versions())

    def answer(self, request: bytes) -> bytes:
        """See `training.parallel.process.Answering`."""
        return self._answering.answer(request)


def _backend():
    import keras

    return {"KERAS_BACKEND": keras.backend.backend()}


def _connect(ray, address):
    settings = {"log_to_driver": False, "logging_level": "ERROR"}
    place = address or os.environ.get("RAY_ADDRESS") or "auto"
    if found := re.fullmatch(r"(.+):(\d+)", place):
        _check_reachable(*found.groups())  # Ray would look for it for minutes.
    try:
        ray.init(place, **settings)
    except ConnectionError as error:
        if place != "auto":
            text = f"There is no Ray cluster at '{place}': {error}"
            raise ConnectionError(text) from error
        ray.init("local", include_dashboard=False, **settings)


def _check_reachable(host, port):
    try:
        socket.create_connection((host.rpartition("/")[2], int(port)), 10).close()
    except OSError as error:
        raise ConnectionError(
            f"There is no Ray cluster at '{host}:{port}': {error}"
        ) from error


def _died(name, error):
    return WorkerDiedError(f"{name} ended ({type(error).__name__})")
