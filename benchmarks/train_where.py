"""Where the time of a training step goes, ours and PyTorch's: oneDNN's own log.

`python -m benchmarks.train --where` prints, for each network and precision, the
milliseconds of a step in each kind of primitive of oneDNN, which both sides compute
convolutions by, and what is not in oneDNN by the profilers of TensorFlow and PyTorch.
Each side runs in a process of its own, with `ONEDNN_VERBOSE=1`; those of TensorFlow
honor it as long as `TF_ENABLE_ONEDNN_OPTS` is on. There, operations are computed one
after the other, so that their times add up.

The log has times by the clock: let nothing else run.
"""

import collections
import json
import os
import subprocess
import sys
from typing import NamedTuple

from benchmarks import rounds

_BEGIN, _END = "begin of steps", "end of steps"
_WARM = 3  # Steps before those that count.
_SHOWN = 8  # Kinds of what is not in oneDNN.
_NONE = 0.0, 0.0, {}


class Side(NamedTuple):
    """Where the time of a step of one side goes, in milliseconds."""

    step: float
    # By primitive: milliseconds, the number of calls, and the milliseconds of each
    # implementation.
    primitives: dict[str, tuple[float, float, dict[str, float]]]
    others: dict[str, float]
    # The version of oneDNN.
    version: str

    @property
    def inside(self) -> float:
        """What oneDNN takes."""
        return sum(spent for spent, *_ in self.primitives.values())


def measure(python: str, kind: str, count: int, **job) -> Side:
    """Returns where the time of a side goes.

    Args:
        python: A Python that has what the side needs.
        kind: `"ours"` or `"torch"`.
        count: The number of steps.
        **job: `network`, `shape`, `batch`, `bfloat16` and `threads`.
    """
    words = json.dumps({"kind": kind, "count": count, **job})
    done = subprocess.run(
        [python, "-m", "benchmarks.train_where", words],
        cwd=rounds.ROOT,
        env={**os.environ, "ONEDNN_VERBOSE": "1", "TF_ENABLE_ONEDNN_OPTS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    begin, end = lines.index(_BEGIN), lines.index(_END)
    found = json.loads(lines[-1])
    versions = [
        line.split(",")[3].partition(" (")[0]
        for line in lines
        if ",info,oneDNN v" in line
    ]
    primitives = read_log(lines[begin:end], count)
    return Side(found["step"], primitives, found["others"], "".join(versions[:1]))


def read_log(lines, count: int = 1) -> dict[str, tuple]:
    """Returns where the time of each primitive in a log goes.

    Args:
        lines: Lines that oneDNN printed, among others.
        count: The number of steps that they are of.

    Returns:
        By kind, and of convolutions and such by direction: of a step, the milliseconds,
        the number of calls, and the milliseconds by implementation.

    Example:

    >>> read_log(["onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,,,,1,.5"])
    {'reorder': (0.5, 1.0, {'jit:uni': 0.5})}
    """
    spent, calls = collections.defaultdict(collections.Counter), collections.Counter()
    for line in lines:
        words = line.split(",")
        if words[0] != "onednn_verbose" or "exec" not in words:
            continue
        _, kind, code, direction = words[words.index("exec") + 1 :][:4]
        known = direction not in ("undef", "")
        name = f"{kind}, {direction}" if known else kind
        spent[name][code] += float(words[-1]) / count
        calls[name] += 1
    return {
        name: (sum(codes.values()), calls[name] / count, dict(codes))
        for name, codes in spent.items()
    }


def table(ours: Side, torch: Side | None) -> tuple[list[str], list[list[str]]]:
    """Returns the heading and the rows of a table of both sides."""
    sides = [side for side in (ours, torch) if side]
    names = {name for side in sides for name in side.primitives}

    def cells(name):
        found = [side.primitives.get(name, _NONE) for side in sides]
        return [cell for ms, n, _ in found for cell in (f"{ms:.2f}", f"{n:.0f}")]

    def row(name, values):
        return [name, *(cell for v in values for cell in (f"{v:.2f}", ""))]

    ranked = sorted(names, key=lambda name: -ours.primitives.get(name, _NONE)[0])
    body = [[name, *cells(name)] for name in ranked]
    body.append(row("**all of oneDNN**", [side.inside for side in sides]))
    body.append(row("the rest", [side.step - side.inside for side in sides]))
    body.append(row("**a step**", [side.step for side in sides]))
    heading = ["primitive", "ours, ms", "calls", "PyTorch, ms", "calls"]
    return heading[: 1 + 2 * len(sides)], body


def outside(side: Side) -> str:
    """Returns what is not in oneDNN, the largest first, in words."""
    return _listed(side.others)


def implementations(side: Side) -> str:
    """Returns which of its implementations oneDNN took, in words."""
    ranked = sorted(side.primitives.items(), key=lambda pair: -pair[1][0])[:_SHOWN]
    return "; ".join(f"{name}: {_listed(codes)}" for name, (_, _, codes) in ranked)


def _listed(times):
    ranked = sorted(times.items(), key=lambda pair: -pair[1])[:_SHOWN]
    return ", ".join(f"`{name}` {spent:.2f}" for name, spent in ranked)


def _ours(network, shape, batch, bfloat16, threads):
    """Returns a step of ours, and a function from it to what is not in oneDNN."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from benchmarks import precision, train_ours

    policy = "mixed_bfloat16" if bfloat16 else "float32"
    step = train_ours.ours(network, tuple(shape), batch, policy=policy)

    def others():
        times = precision.own_times(step)
        return {
            kind: spent / 1e9  # Of picoseconds.
            for kind, spent in times.items()
            if not kind.startswith("_Mkl")
        }

    return step, others


def _torch(network, shape, batch, bfloat16, threads):
    """Returns a step of PyTorch, and a function to what is not in oneDNN."""
    import torch

    from benchmarks import train_torch

    torch.set_num_threads(threads)
    step = train_torch.make(network, shape, batch, True, bfloat16)

    def others():
        with torch.profiler.profile() as profile:
            step()
        return {
            event.key: event.self_cpu_time_total / 1e3
            for event in profile.key_averages()
            if "mkldnn" not in event.key and "convolution_backward" not in event.key
        }

    return step, others


def main():
    """Takes the steps of one side, between two marks in the log."""
    job = json.loads(sys.argv[1])
    count, make = job.pop("count"), {"ours": _ours, "torch": _torch}[job.pop("kind")]
    step, others = make(**job)
    for _ in range(_WARM):
        step()
    # oneDNN writes by C, and what Python holds back would come too late.
    os.write(1, f"{_BEGIN}\n".encode())
    seconds, _ = rounds.clock(step, count)
    os.write(1, f"{_END}\n".encode())
    found = {"step": 1e3 * seconds, "others": others()}
    os.write(1, f"{json.dumps(found)}\n".encode())


if __name__ == "__main__":
    main()
