"""How a report was made, and how its numbers are defined."""

import datetime
import importlib.metadata
import inspect
import platform
import re
import shlex
import sys
from pathlib import Path

import keras

from training import metrics
from training.report import columns
from training.report.results import Results

PACKAGES = ("smoothzoo", "keras", "tensorflow", "jax", "numpy")


def facts(results: Results, command: str | None = None) -> dict[str, str]:
    """Returns what is needed to make the numbers again.

    Args:
        results: The values.
        command: By default that of this process.
    """
    from training.run import current_commit

    passes = {
        (row["model"], row["dataset"], row["seed"]): row.get("seconds", 0.0)
        for row in results.rows
        if results.datasets[row["dataset"]].kind not in ("aggregate", "detection")
    }
    seeds = sorted({row["seed"] for row in results.rows})
    counts = sorted({row["num_examples"] for row in results.rows})
    now = datetime.datetime.now(datetime.UTC)
    return {
        "Command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "Seeds" if len(seeds) > 1 else "Seed": ", ".join(map(str, seeds)),
        "Commit": current_commit(),
        "Versions": ", ".join([*_versions(), f"Python {platform.python_version()}"]),
        "Backend": keras.backend.backend(),
        "Date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "Images": " to ".join(dict.fromkeys(f"{c:,}" for c in (counts[0], counts[-1])))
        + " of each data set",
        "Time of the forward passes": _duration(sum(passes.values())),
    }


def definitions(results: Results) -> list[tuple[str, str]]:
    """Returns the headings of the metrics and the first words of their docstrings."""
    functions = {**metrics.CLASSIFICATION, **getattr(metrics, "DETECTION", {})}
    found = {}
    for metric in results.metrics:
        name = metric.partition("/")[0]
        function = functions.get(metric) or functions.get(name)
        text = inspect.getdoc(function) if function else None
        if text:
            words = columns.heading(metric if metric in functions else name)
            found.setdefault(words, _introduction(text))
    return list(found.items())


def _introduction(text):
    """Returns a docstring up to its first section, without line breaks."""
    lines = text.splitlines()
    ends = [i for i, line in enumerate(lines) if re.fullmatch(r"\w.*:", line)]
    head = "\n".join(lines[: min(ends, default=len(lines))]).strip()
    return "\n".join(" ".join(part.split()) for part in head.split("\n\n"))


def _versions():
    for package in PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def _duration(seconds):
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
