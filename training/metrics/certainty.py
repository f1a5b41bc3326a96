"""How good the predictions are that a network is sure of: the 90 family, and IoU.

A prediction is certain if its confidence is above 0.9, and uncertain at 0.9 or below.

Reference:
    [Blurs Behave Like Ensembles](https://arxiv.org/abs/2105.12639)
    (Park and Kim, 2022).
"""

from training.metrics.definitions import DEFINITIONS
from training.metrics.sums import evaluate


def acc_90(probs, labels) -> float:
    """Returns the accuracy where the confidence is above 0.9; NaN where none is."""
    return evaluate(DEFINITIONS["acc_90"], probs, labels)


def unc_90(probs, labels) -> float:
    """Returns the share of the wrong predictions with a confidence of at most 0.9.

    It is NaN where no prediction is wrong.
    """
    return evaluate(DEFINITIONS["unc_90"], probs, labels)


def freq_90(probs, labels) -> float:
    """Returns the share of predictions with a confidence above 0.9."""
    return evaluate(DEFINITIONS["freq_90"], probs, labels)


def iou(probs, labels) -> float:
    """Returns the mean intersection over union of the classes.

    That of a class is `TP / (TP + FP + FN)`; the mean runs over the classes that occur
    among the labels.
    """
    return evaluate(DEFINITIONS["iou"], probs, labels)


def class_accuracy(probs, labels) -> float:
    """Returns the mean accuracy of the classes that occur among the labels.

    Each class counts as much as any other: the balanced accuracy, in segmentation the
    class average.
    """
    return evaluate(DEFINITIONS["class_accuracy"], probs, labels)


def iou_90(probs, labels) -> float:
    """Returns `iou` of the predictions with a confidence above 0.9; NaN of none."""
    return evaluate(DEFINITIONS["iou_90"], probs, labels)
