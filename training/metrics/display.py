"""How a metric is shown: its heading, unit, decimals and which way is better."""

import math
import statistics
from collections.abc import Sequence


def heading(metric: str) -> str:
    """Returns the words for a metric, with its unit; the name itself if unknown."""
    if metric in COLUMNS:
        return COLUMNS[metric][0]
    # Some name a score or a reference too: auroc/mutual_information, mce/resnet20.
    stem, slash, other = metric.partition("/")
    if slash and stem in COLUMNS:
        name, space, unit = COLUMNS[stem][0].partition(" (")
        by = f" by {other.replace('_', ' ')}" if stem in DETECTION else f" to {other}"
        return f"{name}{by}{space}{unit}"
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
    "top_5": ("Top-5 accuracy (%)", 100, 2, 1),
    "brier_uncertainty": ("Brier uncertainty", 1, 4, 0),
    "brier_resolution": ("Brier resolution", 1, 4, 1),
    "brier_reliability": ("Brier reliability", 1, 4, -1),
    "brier_covariance": ("Brier covariance", 1, 4, 1),
    "signed_ece": ("Signed ECE (%)", 100, 2, 0),
    "adaptive_ece": ("Adaptive ECE (%)", 100, 2, -1),
    "class_wise_ece": ("Class-wise ECE (%)", 100, 2, -1),
    "rms_calibration_error": ("RMS calibration error (%)", 100, 2, -1),
    "maximum_calibration_error": ("Maximum calibration error (%)", 100, 2, -1),
    "iou": ("IoU (%)", 100, 2, 1),
    "iou_90": ("IoU-90 (%)", 100, 2, 1),
    "aurc": ("AURC (%)", 100, 2, -1),
    "raulc": ("rAULC", 1, 4, 1),
    # Over all corruptions; a name behind a slash is that of the reference.
    "mean_error": ("Mean error (%)", 100, 2, -1),
    "mean_nll": ("Mean NLL (nats)", 1, 4, -1),
    "mean_ece": ("Mean ECE (%)", 100, 2, -1),
    "mce": ("mCE (%)", 1, 2, -1),
    "relative_mce": ("Relative mCE (%)", 1, 2, -1),
    "mcnll": ("mCNLL (%)", 1, 2, -1),
    "mcece": ("mCECE (%)", 1, 2, -1),
    # Of sequences.
    "consistency": ("Consistency (%)", 100, 2, 1),
    "flip_rate": ("Flip rate (%)", 100, 2, -1),
    "cec": ("CEC (nats)", 1, 4, -1),
    # Out of distribution; a name behind a slash is that of the score.
    "auroc": ("AUROC (%)", 100, 2, 1),
    "aupr_out": ("AUPR-out (%)", 100, 2, 1),
    "aupr_in": ("AUPR-in (%)", 100, 2, 1),
    "fpr_95": ("FPR95 (%)", 100, 2, -1),
}

DETECTION = ("auroc", "aupr_out", "aupr_in", "fpr_95")
