import os
import re
import time

import pytest

from tests.helpers import pools
from training.parallel.local import Processes
from training.parallel.pool import Pool, WorkerDiedError


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_calls_are_shared_and_outlive_a_worker_and_errors(tmp_path, caplog):
    with Pool(pools.forks(2)) as pool:
        shared = pool.share(pools.Counted(tmp_path / "unpickled"))
        some = [pool.submit(pools.add, shared, n) for n in range(20)]
        found = [future.result() for future in some]
        assert [number for number, _ in found] == list(range(20))
        lines = (tmp_path / "unpickled").read_text().split()
        assert len(lines) == len(set(lines))  # Each process got it once.
        with pytest.raises(FileNotFoundError, match="There is no 'x'"):
            pool.submit(pools.fail, "x").result()
        again = pool.submit(pools.die_once, tmp_path / "died")
        alive = {again.result()}
        (warning,) = [r.getMessage() for r in caplog.records if "again" in r.message]
        dead = int(re.match(r"Process (\d+) was killed by signal 9; ", warning)[1])
        # The one in its place gets what is shared, too.
        more = [pool.submit(pools.add, shared, n) for n in range(9)]
        assert [future.result()[0] for future in more] == list(range(9))
        alive |= {pid for _, pid in (future.result() for future in more)}
        with pytest.raises(WorkerDiedError, match="was killed by signal 9"):
            pool.submit(pools.die, attempts=1).result()
        waiting = pool.submit(pools.sleep, 1000)
        while not waiting.running():
            time.sleep(0.01)
    assert dead not in alive
    assert not any(map(is_running, {*alive, *(pid for _, pid in found)}))
    assert not waiting.done()


def test_workers_that_do_not_start_are_told():
    def start(command, env, **_):
        code = "raise ImportError('nothing there')"
        return pools.processes.start([command[0], "-c", code], env=env)

    with (
        Pool(Processes(2, start=start)) as pool,
        pytest.raises(WorkerDiedError, match="ended with code 1"),
    ):
        pool.submit(pools.sleep, 0).result()
