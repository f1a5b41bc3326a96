"""What the processor of this machine has instructions for."""

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
