"""The table of metrics: one row for each, with all that is known about it."""

import dataclasses
import fnmatch
from collections.abc import Callable

from training.metrics import (
    calibration,
    certainty,
    detection,
    ranking,
    regression,
    scores,
    sets,
)
from training.metrics import sequences as frames
from zoo.publishing.results import CardMetrics


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric, and how it is shown.

    Attributes:
        name: In rows. That of a row may go on with a slash and the name of a score, of
            a reference, of a decision or of a class, such as `auroc/entropy`.
        heading: Words, with the unit that values are shown in.
        function: Function of `(probs, labels)`, `(sets, labels)`, `(scores_in,
            scores_out)`, `(probs,)` of sequences or `(means, scales, targets)`; None
            for what is computed from other rows, or from others of these.
        factor: From a value to the unit of the heading.
        digits: Decimals that are shown.
        better: 1 if more is better, -1 if less is, 0 if neither can be said.
        card: The names of rows that a model card has of each data set, a pattern.
        card_mean: Whether a card has its mean over shifted data sets.
        main: Whether it is in the first table of a report, and over the severities.
        drawn: Whether it is drawn, against sizes and shifts and over corruptions.
        aggregates: Names of its mean over all corruptions, and of that relative to a
            reference.
        meaning: How to read it, in half a line.
    """

    name: str
    heading: str
    function: Callable | None = None
    factor: float = 1
    digits: int = 4
    better: int = 0
    card: str | None = None
    card_mean: bool = False
    main: bool = False
    drawn: bool = False
    aggregates: tuple[str, str] | None = None
    meaning: str = ""


def _share(*args, **kwargs):
    """Returns a metric in [0, 1] that is shown in percent."""
    return Metric(*args, **{"factor": 100, "digits": 2, **kwargs})


# Of (probs, labels).
_CLASSIFICATION = (
    _share(
        "accuracy",
        "Accuracy (%)",
        scores.accuracy,
        better=1,
        card="accuracy",
        card_mean=True,
        main=True,
        drawn=True,
        aggregates=("mean_error", "mce"),
        meaning="right predictions",
    ),
    Metric(
        "nll",
        "NLL (nats)",
        scores.nll,
        better=-1,
        card="nll",
        card_mean=True,
        main=True,
        drawn=True,
        aggregates=("mean_nll", "mcnll"),
        meaning="negative log-probability of the true class",
    ),
    Metric(
        "brier",
        "Brier",
        scores.brier,
        better=-1,
        card="brier",
        main=True,
        meaning="squared error of the probabilities, 0 to 2",
    ),
    _share(
        "ece",
        "ECE (%)",
        calibration.ece,
        better=-1,
        card="ece",
        card_mean=True,
        main=True,
        drawn=True,
        aggregates=("mean_ece", "mcece"),
        meaning="gap between confidence and accuracy",
    ),
    _share(
        "acc_90",
        "Acc-90 (%)",
        certainty.acc_90,
        better=1,
        card="acc_90",
        meaning="right predictions among those with more than 90 % confidence",
    ),
    _share(
        "unc_90",
        "Unc-90 (%)",
        certainty.unc_90,
        better=1,
        card="unc_90",
        meaning="mistakes made with at most 90 % confidence",
    ),
    _share(
        "freq_90",
        "Freq-90 (%)",
        certainty.freq_90,
        card="freq_90",
        meaning="predictions with more than 90 % confidence",
    ),
    Metric(
        "entropy",
        "Entropy (nats)",
        scores.entropy,
        card="entropy",
        meaning="spread of the mean prediction; ten equal classes have 2.30",
    ),
    _share("top_5", "Top-5 accuracy (%)", scores.top_5, better=1),
    Metric("brier_uncertainty", "Brier uncertainty", scores.brier_uncertainty),
    Metric("brier_resolution", "Brier resolution", scores.brier_resolution, better=1),
    Metric(
        "brier_reliability", "Brier reliability", scores.brier_reliability, better=-1
    ),
    Metric("brier_covariance", "Brier covariance", scores.brier_covariance, better=1),
    _share("signed_ece", "Signed ECE (%)", calibration.signed_ece),
    _share("adaptive_ece", "Adaptive ECE (%)", calibration.adaptive_ece, better=-1),
    _share(
        "class_wise_ece", "Class-wise ECE (%)", calibration.class_wise_ece, better=-1
    ),
    _share(
        "rms_calibration_error",
        "RMS calibration error (%)",
        calibration.rms_calibration_error,
        better=-1,
    ),
    _share(
        "maximum_calibration_error",
        "Maximum calibration error (%)",
        calibration.maximum_calibration_error,
        better=-1,
    ),
    _share("iou", "IoU (%)", certainty.iou, better=1),
    _share("iou_90", "IoU-90 (%)", certainty.iou_90, better=1),
    _share("aurc", "AURC (%)", ranking.aurc, better=-1),
    Metric("raulc", "rAULC", ranking.raulc, better=1),
)
# Of (probs, labels) of pixels, beside those above.
_PIXELS = (
    _share(
        "mean_iou",
        "Mean IoU (%)",
        certainty.iou,
        better=1,
        card="mean_iou",
        card_mean=True,
        main=True,
        drawn=True,
        meaning="intersection over union, mean over the classes",
    ),
    _share(
        "class_accuracy",
        "Class accuracy (%)",
        certainty.class_accuracy,
        better=1,
        meaning="mean over the classes of the right predictions",
    ),
    _share(
        "error_auroc",
        "AUROC of errors (%)",
        ranking.error_auroc,
        better=1,
        meaning="wrong predictions that have a lower confidence than right ones",
    ),
    _share(
        "error_aupr",
        "AUPR of errors (%)",
        ranking.error_aupr,
        better=1,
        meaning="precision of a low confidence that looks for wrong predictions",
    ),
)
# Of (probs, labels, scores) of pixels, beside AUROC of errors; the name behind a slash
# is that of the score.
_VOID = (
    _share(
        "void_auroc",
        "AUROC of unlabeled pixels (%)",
        ranking.void_auroc,
        better=1,
        meaning="unlabeled pixels that are less trusted than labeled ones",
    ),
)
# Means over the images of what each of them has.
_BY_IMAGE = (
    _share("image_accuracy", "Accuracy by image (%)", better=1),
    Metric("image_nll", "NLL by image (nats)", better=-1),
    _share("image_ece", "ECE by image (%)", better=-1),
    _share("image_iou", "IoU by image (%)", better=1),
)
# Of (means, scales, targets), in the unit of the targets.
_REGRESSION = (
    Metric(
        "rmse",
        "RMSE",
        regression.rmse,
        better=-1,
        card="rmse",
        main=True,
        drawn=True,
        meaning="root of the mean squared error of the mean",
    ),
    Metric(
        "gaussian_nll",
        "Gaussian NLL (nats)",
        regression.gaussian_nll,
        better=-1,
        card="gaussian_nll",
        main=True,
        drawn=True,
        meaning="negative log density of the targets",
    ),
    Metric("crps", "CRPS", regression.crps, better=-1, card="crps", main=True),
    _share(
        "interval_coverage",
        "Coverage of 95 % (%)",
        regression.coverage,
        card="interval_coverage",
        main=True,
        drawn=True,
        meaning="targets inside of the central interval of 95 %",
    ),
    Metric(
        "interval_width",
        "Width of 95 %",
        regression.width,
        better=-1,
        card="interval_width",
    ),
    _share(
        "quantile_calibration",
        "Quantile calibration (%)",
        regression.quantile_calibration,
        better=-1,
        card="quantile_calibration",
        meaning="gap between probabilities and how often they are right",
    ),
)
# Of (sets, labels); the name behind a slash is that of the decision.
_SETS = (
    _share(
        "coverage",
        "Coverage (%)",
        sets.coverage,
        better=1,
        meaning="sets that have the true class in them",
    ),
    Metric(
        "set_size",
        "Set size",
        sets.set_size,
        digits=3,
        better=-1,
        meaning="classes in a set",
    ),
    _share(
        "class_coverage",
        "Lowest class coverage (%)",
        sets.class_coverage,
        better=1,
        meaning="the same of the class that is covered the least",
    ),
    _share(
        "answered",
        "Answered (%)",
        sets.answered,
        better=1,
        meaning="sets that are not empty",
    ),
    _share(
        "risk",
        "Risk (%)",
        sets.risk,
        better=-1,
        meaning="wrong ones among the sets that are not empty",
    ),
)
# The same of pixels, image by image.
_PIXEL_SETS = (
    _share(
        "image_coverage",
        "Coverage by image (%)",
        sets.image_coverage,
        better=1,
        meaning="pixels of an image whose sets have the true class, mean of the images",
    ),
    _share(
        "image_class_coverage",
        "Lowest class coverage by image (%)",
        sets.image_class_coverage,
        better=1,
        meaning="the same of the pixels of the class that is covered the least",
    ),
)
# Of (scores_in, scores_out); the name behind a slash is that of the score.
_DETECTION = (
    _share("auroc", "AUROC (%)", detection.auroc, better=1, card="auroc/entropy"),
    _share("aupr_out", "AUPR-out (%)", detection.aupr_out, better=1),
    _share("aupr_in", "AUPR-in (%)", detection.aupr_in, better=1),
    _share("fpr_95", "FPR95 (%)", detection.fpr_95, better=-1),
)
# Of probs of the shape (sequences, frames, num_classes).
_SEQUENCES = (
    _share(
        "consistency", "Consistency (%)", frames.consistency, better=1, card_mean=True
    ),
    _share("flip_rate", "Flip rate (%)", frames.flip_rate, better=-1, card_mean=True),
    Metric("cec", "CEC (nats)", frames.cec, better=-1),
)
# Over all corruptions; the name behind a slash is that of the reference.
_AGGREGATES = (
    _share("mean_error", "Mean error (%)", better=-1),
    Metric("mean_nll", "Mean NLL (nats)", better=-1),
    _share("mean_ece", "Mean ECE (%)", better=-1),
    Metric("mce", "mCE (%)", digits=2, better=-1, card="mce/*"),
    Metric("relative_mce", "Relative mCE (%)", digits=2, better=-1),
    Metric("mcnll", "mCNLL (%)", digits=2, better=-1),
    Metric("mcece", "mCECE (%)", digits=2, better=-1),
)
# All metrics by name.
METRICS = {
    metric.name: metric
    for metric in (
        *(*_CLASSIFICATION, *_PIXELS, *_VOID, *_BY_IMAGE, *_REGRESSION, *_SETS),
        *(*_PIXEL_SETS, *_DETECTION, *_SEQUENCES, *_AGGREGATES),
    )
}
MAIN = tuple(name for name, metric in METRICS.items() if metric.main)
DRAWN = tuple(name for name, metric in METRICS.items() if metric.drawn)
AGGREGATES = {
    name: metric.aggregates for name, metric in METRICS.items() if metric.aggregates
}


def _functions(rows) -> dict[str, Callable]:
    return {metric.name: metric.function for metric in rows}


CLASSIFICATION = _functions(_CLASSIFICATION)
# Of every labeled pixel of all images; a few take all of them in order.
SEGMENTATION = {
    **{
        name: CLASSIFICATION[name]
        for name in (
            *("accuracy", "nll", "brier", "ece", "acc_90", "unc_90", "freq_90"),
            *("iou_90", "entropy", "signed_ece", "class_wise_ece", "raulc"),
        )
    },
    **_functions(_PIXELS),
}
# Of these, what each image and its mean over the images is.
BY_IMAGE = {
    metric.name: CLASSIFICATION[metric.name.removeprefix("image_")]
    for metric in _BY_IMAGE
}
REGRESSION = _functions(_REGRESSION)
SETS = _functions(_SETS)
PIXEL_SETS = {**SETS, **_functions(_PIXEL_SETS)}
# Of (probs, labels, scores); the name behind a slash is that of the score.
RANKING = {"raulc": ranking.raulc}
# The same of pixels, by each score that there is.
PIXEL_RANKING = {
    "error_auroc": ranking.error_auroc,
    "void_auroc": ranking.void_auroc,
}
DETECTION = _functions(_DETECTION)
SEQUENCES = _functions(_SEQUENCES)


def _is_on_card(name: str) -> bool:
    metric = METRICS.get(name.partition("/")[0])
    return bool(metric and metric.card and fnmatch.fnmatchcase(name, metric.card))


def _has_mean_on_card(name: str) -> bool:
    return name in METRICS and METRICS[name].card_mean


# What a model card has room for; all the rest stays in its `results.jsonl`.
CARD = CardMetrics(_is_on_card, _has_mean_on_card)
