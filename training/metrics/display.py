"""How a metric is shown: its heading, unit, decimals and which way is better."""

import math
import statistics
from collections.abc import Sequence

from training.metrics import pixels
from training.metrics.table import (
    CLASSIFICATION,
    DETECTION,
    METRICS,
    PIXEL_RANKING,
    PIXEL_SETS,
    RANKING,
    Metric,
)


def heading(metric: str) -> str:
    """Returns the words for a metric, with its unit; the name itself if unknown."""
    if metric in METRICS:
        return METRICS[metric].heading
    # Some name a score, a decision, a class or a reference too: auroc/entropy,
    # coverage/aps_90, iou/sky.
    stem, slash, other = metric.partition("/")
    if slash and stem in METRICS:
        name, space, unit = METRICS[stem].heading.partition(" (")
        is_score = stem in {**DETECTION, **RANKING, **PIXEL_RANKING}
        is_part = stem in PIXEL_SETS or stem in CLASSIFICATION
        words = "by" if is_score else "of" if is_part else "to"
        other = other.replace("_", " ") if is_score else other
        return f"{name} {words} {other}{space}{unit}"
    return metric


def of_class(metric: str) -> tuple[str, str] | None:
    """Returns the metric and the class of one by class, `iou/sky`; None for others."""
    stem, slash, name = metric.partition("/")
    return (stem, name) if slash and stem in (*pixels.BY_CLASS, "iou") else None


def scaled(metric: str, values: Sequence[float]) -> list[float]:
    """Returns values in the unit that the heading names."""
    factor = _metric(metric).factor
    return [factor * value for value in values]


def number(metric: str, value: float, short: bool = False) -> str:
    """Returns a value in the unit of the heading, as text.

    Args:
        metric: Its name.
        value: Not yet in that unit.
        short: With fewer decimals, for a small cell.
    """
    return text(_metric(metric), value, short)


def text(shown: Metric, value: float, short: bool = False) -> str:
    """Returns a value as a row of the table of metrics says; see `number`."""
    if math.isnan(value):
        return "-"
    digits = (shown.digits + 1) // 2 if short else shown.digits
    words = f"{shown.factor * value:.{digits}f}"
    return words.replace("-", "") if float(words) == 0 else words


def cell(metric: str, values: Sequence[float]) -> str:
    """Returns the mean of several seeds, and with two or more their deviation."""
    values = [v for v in values if not math.isnan(v)]
    if not values:
        return "-"
    words = number(metric, statistics.fmean(values))
    if len(values) > 1:
        words += f" ± {number(metric, statistics.stdev(values))}"
    return words


def better(metric: str) -> int:
    """Returns 1 if more is better, -1 if less is, 0 if neither can be said."""
    return _metric(metric).better


def _metric(name) -> Metric:
    stem = name.partition("/")[0]
    return METRICS.get(name) or METRICS.get(stem) or Metric(name, heading=name)
