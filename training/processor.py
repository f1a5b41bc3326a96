"""What the processor of this machine has instructions for, and its cores."""

import os
import pathlib

_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # As Linux names them.


def has_bfloat16(path: str = "/proc/cpuinfo") -> bool | None:
    """Returns whether there are instructions for products of bfloat16.

    Args:
        path: The file in which Linux tells of processors.

    Returns:
        None where that is not known.
    """
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.partition(":") for line in lines]
    flags = [words for name, _, words in found if name.strip() in ("flags", "Features")]
    return bool(_FLAGS & set(flags[0].split())) if flags else None


def num_cores() -> int:
    """Returns how many cores this process may use.

    Those are the cores of `ZOO_NUM_CORES` where that is set, as for a worker beside
    others.
    """
    if "ZOO_NUM_CORES" in os.environ:
        return int(os.environ["ZOO_NUM_CORES"])
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
