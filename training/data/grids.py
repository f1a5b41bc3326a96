"""The names of data sets that are derived from another one, and lists of them."""

import fnmatch
import itertools
import math
import pathlib
import re
from collections.abc import Callable

from training import corruptions
from training.corruptions import sequences
from training.corruptions.sequences import PERTURBATIONS
from zoo import dataset_name, spelling

# Degrees and pixels of the shift benchmark.
# Reference: Can You Trust Your Model's Uncertainty? (Ovadia et al., 2019).
ROTATIONS = tuple(range(15, 181, 15))
TRANSLATIONS = tuple(range(2, 27, 2))
SIDES = (64, 224)  # That a stem which subsamples is made for.
_LARGEST_SIDE = 4096


def split(name: str) -> tuple[str, str, str] | None:
    """Takes the name of a derived data set apart; the name of a folder is whole.

    Args:
        name: For example `"fashion_mnist_c/fog/3"`.

    Returns:
        As `zoo.dataset_name.split`.
    """
    return None if pathlib.Path(name).is_dir() else dataset_name.split(name)


def grid(base: str, kind: str) -> list[str]:
    """Lists the data sets that can be derived from one.

    Args:
        base: The name of the clean set, for example `"fashion_mnist"`.
        kind: `"benchmark"`, the 15 corruptions at five severities; `"corruptions"`, the
            same with the 4 to validate on; `"rotations"`; `"translations"`;
            `"sequences"`, the 10 perturbations of the benchmark; `"perturbations"`, the
            same with 4 to validate on and 6 stronger noises; `"sizes"`, 64 and 224.

    Returns:
        Their names, which `training.data.load` takes.

    Raises:
        ValueError: If the kind is not known.

    Example:

    >>> grid("fashion_mnist", "rotations")[:2]
    ['fashion_mnist_rotation/15', 'fashion_mnist_rotation/30']
    """
    if kind not in GRIDS:
        raise ValueError(
            f"`kind` must be one of {', '.join(GRIDS)}.{spelling.hint(kind, GRIDS)} "
            f"Received: kind={kind}"
        )
    suffix, *parts = GRIDS[kind]
    rests = itertools.product(*parts)
    return [f"{base}_{suffix}/{'/'.join(map(str, rest))}" for rest in rests]


def expand(pattern: str) -> list[str]:
    """Lists the data sets that a pattern stands for.

    Args:
        pattern: The name of a data set, or one with `*` behind the first slash:
            `"fashion_mnist_c/*/3"` (all 19 corruptions), `"fashion_mnist_c/fog/*"`,
            `"fashion_mnist_rotation/*"`, `"fashion_mnist_c/*/*_size/64"`. As in a
            shell, `?` and `[135]` work, too.

    Returns:
        The names, in the order of `grid`; the pattern alone if it is a name.

    Raises:
        ValueError: If a corruption, severity, angle, number of pixels or perturbation
            is not known, or nothing matches.

    Example:

    >>> expand("fashion_mnist_c/*_noise/[15]")[:2]
    ['fashion_mnist_c/gaussian_noise/1', 'fashion_mnist_c/gaussian_noise/5']
    """
    found = split(pattern)
    if found is None:
        return [pattern]
    base, kind, rest = found
    bases = expand(base)
    if bases != [base]:
        return [name for each in bases for name in expand(f"{each}_{kind}/{rest}")]
    if not re.search(r"[*?\[]", rest):
        KINDS[kind](rest)
        return [pattern]
    names = [
        name
        for name in grid(base, ALL[kind])
        if fnmatch.fnmatchcase(name.removeprefix(f"{base}_{kind}/"), rest)
    ]
    if not names:
        known = grid(base, ALL[kind])
        raise ValueError(
            f"No data set matches the pattern. There are {len(known)}, from {known[0]} "
            f"to {known[-1]}. Received: pattern={pattern}"
        )
    return names


def corruption(rest: str) -> tuple[str, int]:
    """Reads `"fog/3"`."""
    name, found, severity = rest.partition("/")
    if not found or not re.fullmatch(r"-?\d+", severity):
        raise ValueError(
            "The name of a corrupted data set is <data set>_c/<corruption>/<severity>, "
            f"for example fashion_mnist_c/fog/3. Received: name=..._c/{rest}"
        )
    corruptions.check(name, int(severity))
    return name, int(severity)


def degrees(rest: str) -> float:
    """Reads `"45"`: any number of degrees."""
    try:
        value = float(rest)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            "The name of a rotated data set is <data set>_rotation/<degrees>, for "
            f"example fashion_mnist_rotation/45. Received: degrees={rest}"
        )
    return value


def pixels(rest: str) -> int:
    """Reads `"4"`: any whole number of pixels."""
    if not re.fullmatch(r"-?\d+", rest):
        raise ValueError(
            "The name of a translated data set is <data set>_translation/<pixels>, for "
            f"example fashion_mnist_translation/4. Received: pixels={rest}"
        )
    return int(rest)


def side(rest: str) -> int:
    """Reads `"64"`: the side of a square in pixels."""
    if not re.fullmatch(r"\d+", rest) or not 1 <= int(rest) <= _LARGEST_SIDE:
        raise ValueError(
            "The name of a resized data set is <data set>_size/<pixels>, for example "
            f"fashion_mnist_size/64, up to {_LARGEST_SIDE}. Received: pixels={rest}"
        )
    return int(rest)


def perturbation(rest: str) -> str:
    """Reads `"brightness"`."""
    if rest not in PERTURBATIONS:
        raise ValueError(
            f"Unknown perturbation.{spelling.hint(rest, PERTURBATIONS)} Known: "
            f"{', '.join(PERTURBATIONS)}. Received: name={rest}"
        )
    return rest


# What follows the name of the clean set, and the function that reads the rest.
KINDS: dict[str, Callable] = {
    "c": corruption,
    "rotation": degrees,
    "translation": pixels,
    "p": perturbation,
    "size": side,
}
# The lists: the kind, and the values of each part behind the slash.
GRIDS = {
    "benchmark": ("c", corruptions.BENCHMARK, corruptions.SEVERITIES),
    "corruptions": ("c", tuple(corruptions.CORRUPTIONS), corruptions.SEVERITIES),
    "rotations": ("rotation", ROTATIONS),
    "translations": ("translation", TRANSLATIONS),
    "sequences": ("p", sequences.BENCHMARK),
    "perturbations": ("p", tuple(PERTURBATIONS)),
    "sizes": ("size", SIDES),
}
# The whole list of each kind.
ALL = {
    "c": "corruptions",
    "rotation": "rotations",
    "translation": "translations",
    "p": "perturbations",
    "size": "sizes",
}
