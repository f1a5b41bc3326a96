"""What several workers tell each other, without a training."""

import contextlib
import os
import socket
import sys
import threading
import types

import numpy as np
import pytest

from tests.helpers.data_sets import stripes
from training import batches
from training.cli import quiet
from training.distribution import workers
from training.distribution.cluster import Cluster

CLUSTER = Cluster(("a:1", "b:1", "c:1"), 0)


def together(monkeypatch, function, count=3):
    """Returns what a function of its index gives on each of some workers.

    They are threads, which add up their arrays as the collectives of TensorFlow do.
    """
    barrier, parts, results = threading.Barrier(count), [None] * count, [None] * count

    def summed(values):
        index = workers.active().cluster.index
        parts[index] = values
        barrier.wait(10)
        total = np.sum(parts, axis=0, dtype="int32")
        barrier.wait(10)
        return total

    def run(index):
        cluster = Cluster(CLUSTER.addresses[:count], index)
        workers._ACTIVE.set(types.SimpleNamespace(cluster=cluster))
        try:
            results[index] = function(index)
        except ValueError as error:
            results[index] = str(error)

    monkeypatch.setattr(workers, "_sum", summed)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_each_worker_gets_what_all_of_them_give(monkeypatch):
    values = [{"seed": 1}, "é", None]
    assert together(monkeypatch, lambda i: workers.gather(values[i])) == [values] * 3


@pytest.mark.parametrize(
    "other, message",
    [
        ({"seed": 1}, "seed is 0 on the chief and is 1 there"),
        ({"recipe": {"epochs": 3}}, "recipe.epochs is 2 on the chief and is 3 there"),
        ({"weights": "x"}, "weights is not set on the chief and is 'x' there"),
        ({"versions": 0}, None),
    ],
)
def test_all_name_the_worker_with_other_settings_and_what_differs(
    monkeypatch, other, message
):
    settings = {"seed": 0, "recipe": {"epochs": 2}}

    def agree(index):
        workers.agree({**settings, **(other if index == 2 else {})})

    results = together(monkeypatch, agree)
    if message is None:  # Of what `agree` adds by itself there is one value.
        assert results == [None] * 3
        return
    assert len(set(results)) == 1
    assert f"same training: on worker 2 (c:1), {message}. Start" in results[0]
    assert "worker 1" not in results[0]


def test_another_version_of_a_package_is_named(monkeypatch):
    def versions():
        yield "keras 3.1" if workers.active().cluster.index == 1 else "keras 3.2"

    monkeypatch.setattr(workers, "versions", versions)
    results = together(monkeypatch, lambda _: workers.agree({}))
    assert "worker 1 (b:1), versions.keras is '3.2' on the chief and is" in results[0]


@pytest.mark.parametrize("size", [0, 1, 4, 1001])
def test_a_file_of_the_chief_arrives_as_it_is(monkeypatch, tmp_path, size):
    content = np.random.default_rng(0).bytes(size)
    for index in range(3):
        (tmp_path / str(index)).mkdir()
    (tmp_path / "0" / "file").write_bytes(content)
    (tmp_path / "2" / "file").write_bytes(b"older")
    together(monkeypatch, lambda i: workers.send(tmp_path / str(i) / "file"))
    for index in range(3):
        assert (tmp_path / str(index) / "file").read_bytes() == content
    (tmp_path / "0" / "file").unlink()
    together(monkeypatch, lambda i: workers.send(tmp_path / str(i) / "file"))
    assert not (tmp_path / "1" / "file").exists()


def test_only_the_chief_has_the_folder_of_the_training(monkeypatch, tmp_path):
    def write(index):
        with workers.folder(tmp_path) as path, workers.folder(path) as again:
            (path / f"{index}").touch()
            return again == path, path, path.exists()

    results = together(monkeypatch, write)
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert all(same and was_there for same, _, was_there in results)
    assert [path.exists() for _, path, _ in results] == [True, False, False]


def test_one_process_alone_is_left_as_it_is(tmp_path):
    assert workers.is_chief()
    assert workers.gather(3) == [3]
    workers.agree({"seed": 0})
    workers.send(tmp_path / "file")
    with workers.folder(str(tmp_path)) as path:
        assert path == tmp_path
    assert not list(tmp_path.iterdir())


def test_the_clock_of_the_chief_says_when_it_is_time_for_all(monkeypatch):
    class Clock(threading.local):
        now = 0.0

    clock = Clock()
    monkeypatch.setattr(workers.time, "monotonic", lambda: clock.now)
    asked, gather = [], workers.gather
    monkeypatch.setattr(workers, "gather", lambda v: asked.append(v) or gather(v))

    def times(index):
        timer, due = workers.Timer(10.0), []
        for step in range(200):
            clock.now += 0.5 + index  # Others are slower, or their clocks are.
            if timer.is_due():
                due.append(step)
                timer.restart()
        return due

    first, *others = together(monkeypatch, times)
    assert others == [first, first]
    # At the 20th step, or a little later.
    gaps = np.diff([-1, *first])
    assert gaps.min() >= 20
    assert gaps.max() <= 22
    assert len(asked) < 3 * 60


@contextlib.contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_worker_is_gone_that_was_there_and_refuses_twice():
    with listening() as address:
        watch = workers._Watch(Cluster(("a:1", address), 0))
        assert not watch._is_gone(1)
    assert [watch._is_gone(1) for _ in range(3)] == [False, True, True]


def test_a_worker_that_has_not_come_is_not_gone():
    with listening() as address:
        pass
    watch = workers._Watch(Cluster(("a:1", address), 0))
    assert not any(watch._is_gone(1) for _ in range(5))


@pytest.mark.parametrize("comes", [True, False])
def test_the_watch_ends_a_process_that_waits_for_nothing(monkeypatch, comes):
    said = []
    for name, value in (("_PERIOD", 0.01), ("_GRACE", 0.05), ("_ARRIVAL", 0.1)):
        monkeypatch.setattr(workers, name, value)
    monkeypatch.setattr(workers, "end", said.append)
    monkeypatch.setattr(workers.socket, "create_connection", lambda *_: refuse())

    def refuse():
        raise ConnectionRefusedError

    watch = workers._Watch(CLUSTER)
    if comes:
        watch._seen.update((1, 2))
        watch.start()
    else:
        watch.until_all_have_come().__enter__()
    watch.join(10)
    (text,) = said
    if comes:
        assert text.startswith("Worker 1 (b:1) has ended, or cannot be reached. All")
    else:
        assert "Did not start within 0 seconds: worker 1 (b:1), worker 2 (c:1)." in text


LOST = """\
E0000 00:00:17 1 ring_alg.cc:291] Aborting RingReduce with UNAVAILABLE: reset by peer
Additional GRPC error information from remote target /job:worker/task:1:
:UNKNOWN:Error received from peer
"""


def test_lost_connections_are_left_out_and_other_lines_are_not(capfd):
    other = "E0000 00:00:17 1 kernel.cc:7] Out of memory\nof device 0\n"
    with quiet.without_lost_connections():
        os.write(2, (LOST + other + LOST).encode())
    print("end", file=sys.stderr)
    assert capfd.readouterr().err == other + "end\n"


@pytest.mark.parametrize("batch_size, replicas", [(9, 3), (10, 3), (8, 4), (2, 4)])
def test_the_rows_of_all_workers_are_those_of_the_batch(batch_size, replicas):
    data = stripes(21)
    for make in (
        lambda **own: batches.train_batches(data, batch_size, ("flip",), **own),
        lambda **own: batches.test_batches(data, batch_size, **own),
    ):
        whole = list(make(replicas=replicas))
        # One device on the first worker and the others on the second.
        parts = [
            list(make(replicas=replicas, own=own))
            for own in (range(1), range(1, replicas))
        ]
        for batch, first, second in zip(whole, *parts, strict=True):
            for one, *others in zip(batch, first, second, strict=True):
                np.testing.assert_array_equal(one, np.concatenate(others))
