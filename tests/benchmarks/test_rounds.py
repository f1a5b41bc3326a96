"""The stopwatch of the benchmarks, on steps whose times are known."""

import sys
import types

import numpy as np
import pytest

from benchmarks import rounds

STUB = """
import time
from benchmarks import rounds

def make(seconds):
    return lambda: time.sleep(seconds)

rounds.serve(make)
"""


def test_ratios_are_medians_of_those_within_a_round():
    # A program that disturbs the second round.
    factors = [(1.0, 3.0), (10.0, 30.0), (1.0, 2.0)]
    calls = []

    def step(name, index):
        def run(count):
            calls.append((name, count))
            turn = sum(called == name for called, _ in calls) - 2
            seconds = factors[turn][index] if turn >= 0 else 1.0  # Of the first, 1.
            return seconds, 2 * seconds

        return run

    steps = {"fast": step("fast", 0), "slow": step("slow", 1)}
    times = rounds.measure(steps, 3, seconds=5.0)
    assert calls == [
        ("fast", 1),
        ("slow", 1),
        ("fast", 5),
        ("slow", 5),
        ("slow", 5),
        ("fast", 5),
        ("fast", 5),
        ("slow", 5),
    ]
    assert rounds.ratio(times, "fast", "slow").tolist() == [3, 3]
    assert rounds.ratio(times, "slow", "fast").tolist() == [1 / 3, 1 / 3]


def test_the_clock_divides_by_the_calls_and_tells_waiting_from_work(monkeypatch):
    now = types.SimpleNamespace(wall=0.0, used=0.0)
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: now.wall)
    monkeypatch.setattr(rounds.time, "process_time", lambda: now.used)

    def step():
        now.wall += 3
        now.used += 1

    assert rounds.clock(step, 4) == (3, 1)


def test_without_seconds_a_measurement_is_one_call():
    calls = []
    step = lambda count: calls.append(count) or (0.25, 0.25)  # noqa: E731
    rounds.measure({"a": step}, 3, seconds=0)
    assert calls == [1, 1, 1]


def test_versions_are_those_of_the_other_python():
    assert rounds.version(sys.executable, "numpy") == np.__version__
    assert rounds.version(sys.executable, "no-such-package") is None


def test_another_process_measures_there(tmp_path, monkeypatch):
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{rounds.ROOT}")
    remote = rounds.Remote(sys.executable, "stub")
    steps = {name: remote.step(name, seconds=s) for name, s in (("a", 0.05), ("b", 0))}
    times = rounds.measure(steps, 2, seconds=0)
    assert np.all(times["a"][:, 0] >= 0.05)
    assert np.all(times["a"][:, 1] < times["a"][:, 0])
    remote.clear()
    with pytest.raises(RuntimeError, match="ended"):
        steps["a"](1)
    remote.stop()
