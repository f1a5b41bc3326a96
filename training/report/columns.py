"""How a metric is shown: its heading, unit, decimals and which way is better."""

import math
import statistics
from collections.abc import Sequence


def heading(metric: str) -> str:
    """Returns the words for a metric, with its unit; the name itself if unknown."""
    if metric in COLUMNS:
        return COLUMNS[metric][0]
    # Detection is named after its score too: auroc/mutual_information.
    stem, slash, score = metric.partition("/")
    if slash and stem in COLUMNS:
        name, space, unit = COLUMNS[stem][0].partition(" (")
        return f"{name}, {score.replace('_', ' ')}{space}{unit}"
    return metric


def scaled(metric: str, values: Sequence[float]) -> list[float]:
    """Returns values in the unit that the heading names."""
    return [_column(metric)[1] * value for value in values]


def number(metric: str, value: float, short: bool = False) -> str:
    """Returns a value in the unit of the heading, as text.

    Args:
        metric: Its name.
        value: Not yet in that unit.
        short: With fewer decimals, for a small cell.
    """
    if math.isnan(value):
        return "-"
    _, factor, digits, _ = _column(metric)
    digits = (digits + 1) // 2 if short else digits
    text = f"{factor * value:.{digits}f}"
    return text.replace("-", "") if float(text) == 0 else text


def cell(metric: str, values: Sequence[float]) -> str:
    """Returns the mean of several seeds, and with two or more their deviation."""
    values = [v for v in values if not math.isnan(v)]
    if not values:
        return "-"
    text = number(metric, statistics.fmean(values))
    if len(values) > 1:
        text += f" ± {number(metric, statistics.stdev(values))}"
    return text


def better(metric: str) -> int:
    """Returns 1 if more is better, -1 if less is, 0 if neither can be said."""
    return _column(metric)[3]


def _column(metric):
    stem = metric.partition("/")[0]
    return COLUMNS.get(metric) or COLUMNS.get(stem) or (metric, 1, 4, 0)


# Heading, factor, decimals, and 1 if more is better or -1 if less is.
COLUMNS = {
    "accuracy": ("Accuracy (%)", 100, 2, 1),
    "nll": ("NLL (nats)", 1, 4, -1),
    "brier": ("Brier", 1, 4, -1),
    "ece": ("ECE (%)", 100, 2, -1),
    "acc_90": ("Acc-90 (%)", 100, 2, 1),
    "unc_90": ("Unc-90 (%)", 100, 2, 1),
    "freq_90": ("Freq-90 (%)", 100, 2, 0),
    "entropy": ("Entropy (nats)", 1, 4, 0),
    "auroc": ("AUROC (%)", 100, 2, 1),
    "aupr": ("AUPR (%)", 100, 2, 1),
    "fpr95": ("FPR95 (%)", 100, 2, -1),
}
