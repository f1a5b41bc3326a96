"""How a report was made, and how its numbers are defined."""

import datetime
import inspect
import re
import shlex
import sys
from pathlib import Path

import keras

from training import metrics
from training.metrics import display
from training.report.result_set import Results
from training.versions import versions


def provenance(results: Results, command: str | None = None) -> dict[str, str]:
    """Returns what is needed to make the numbers again.

    Args:
        results: The values.
        command: By default that of this process.
    """
    from training.versions import current_commit

    seeds = sorted({row["seed"] for row in results.rows})
    sums = ("aggregate", "detection")  # Of the images of several sets.
    single = [
        r for r in results.rows if results.datasets[r["dataset"]].kind not in sums
    ]
    counts = sorted({row["num_examples"] for row in single or results.rows})
    now = datetime.datetime.now(datetime.UTC)
    return {
        "Command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "Seeds" if len(seeds) > 1 else "Seed": ", ".join(map(str, seeds)),
        "Commit": current_commit(),
        "Versions": ", ".join(versions()),
        "Backend": keras.backend.backend(),
        "Date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "Images": " to ".join(dict.fromkeys(f"{c:,}" for c in (counts[0], counts[-1])))
        + " of each data set",
        "Time of the forward passes": _duration(_seconds(results)),
    }


def _seconds(results):
    """Returns the time of all passes; every row has that of its model and data set."""
    passes = {
        (row["model"], row["dataset"], row["seed"]): row.get("seconds", 0.0)
        for row in results.rows
    }
    total = 0.0
    for (model, name, seed), seconds in passes.items():
        data = results.datasets[name]
        if data.kind == "detection":  # The sum of two, one of which counts itself.
            total += max(seconds - passes.get((model, str(data.clean), seed), 0.0), 0.0)
        elif data.kind != "aggregate":
            total += seconds
    return total


def definitions(results: Results) -> list[tuple[str, str]]:
    """Returns headings and what the docstrings of the metrics say about them."""
    functions = {**metrics.CLASSIFICATION, **metrics.SEGMENTATION, **metrics.DETECTION}
    found = {
        display.heading(name): functions[name]
        for name in dict.fromkeys(m.partition("/")[0] for m in results.metrics)
        if name in functions
    }
    if results.of_kind("aggregate"):
        found["Summaries of all corruptions"] = metrics.aggregate
    texts = [(name, _introduction(function)) for name, function in found.items()]
    if results.of_kind("detection"):
        texts.append(("Scores of out-of-distribution images", _SCORES))
    return texts


def _introduction(function):
    """Returns a docstring up to its first section; a line for each paragraph."""
    lines = inspect.getdoc(function).splitlines()
    ends = [i for i, line in enumerate(lines) if re.fullmatch(r"[A-Z]\w*:", line)]
    result, deep = [], 0
    for line in lines[: min(ends, default=len(lines))]:
        indent = len(line) - len(line.lstrip())
        if result and result[-1] and line and indent == deep:
            result[-1] += f" {line.strip()}"
        else:
            result.append(line.rstrip())
        deep = indent
    return "\n".join(filter(None, result))


def _duration(seconds):
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


_SCORES = """One number for each image; higher means more out-of-distribution.
`max_probability`: one less the largest mean probability.
`entropy`: that of the mean probabilities, in nats.
`mutual_information`: the entropy less the mean entropy of the passes, in nats.
`energy`: minus the log-sum-exp of the logits, the mean over the passes.
`max_logit`: minus the largest logit, the mean over the passes.
Others are those of a posterior, such as `density`: minus the log density of the
features, in nats; the page of the metrics has their formulas."""
