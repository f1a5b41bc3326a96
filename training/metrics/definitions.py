"""The table of metrics that are functions of sums over the examples."""

import functools
import math

import numpy as np

from training.metrics.sums import Definition, ratio

# Predictions above it are "certain" in Acc-90, Unc-90, Freq-90 and IoU-90. Rounded to
# float32 it becomes smaller, so that no float32 lies between the two.
CERTAIN = 0.9
_TINY = float(np.finfo("float32").tiny)


def _bins(xp, values, num_bins):
    """Returns the bins `(lower, upper]` of equal width; the first has 0 as well."""
    edges = np.arange(num_bins) / num_bins
    if xp is np:
        # The last edge below a value, or one that it lies on or, where the product is
        # rounded up, just under.
        last = np.minimum((values * num_bins).astype("int64"), num_bins - 1)
        return np.maximum(last - (values <= edges[last]), 0)
    # Rounded down, a float32 edge has the same float32 numbers above it.
    single = edges.astype("float32")
    single = np.where(single > edges, np.nextafter(single, np.float32(0)), single)
    return xp.maximum(xp.searchsorted(single, values), 1) - 1


def _correct(xp, probs, labels):
    return xp.where(xp.argmax(probs, axis=-1) == labels, 1.0, 0.0)


def _of_labels(xp, probs, labels):
    return xp.take_along_axis(probs, labels[:, None], axis=-1)


def _one_hot(xp, probs, labels):
    return xp.where(xp.arange(probs.shape[1]) == labels[:, None], 1.0, 0.0)


def _entry(xp, cells, columns):
    """Returns one cell and some values for each example."""
    return cells[:, None], [column[:, None, None] for column in columns]


def _mean(function, **options) -> Definition:
    """The mean of `function(xp, probs, labels, **options)` over the examples."""

    def collect(xp, probs, labels, **options):
        values = function(xp, probs, labels, **options)
        return _entry(xp, xp.zeros_like(labels), [xp.ones_like(values), values])

    def value(xp, sums):
        return ratio(xp, sums[0, 1], sums[0, 0])

    return Definition(lambda num_classes, **options: (1, 2), collect, value, options)


def _top_k(xp, probs, labels, k):
    mine = _of_labels(xp, probs, labels)
    earlier = xp.arange(probs.shape[1]) < labels[:, None]
    before = (probs > mine) | ((probs == mine) & earlier)
    return xp.where(xp.count_nonzero(before, axis=1) < k, 1.0, 0.0)


def _nll(xp, probs, labels, smallest=_TINY):
    return 0.0 - xp.log(xp.maximum(_of_labels(xp, probs, labels)[:, 0], smallest))


def _brier(xp, probs, labels):
    return xp.sum(xp.square(probs - _one_hot(xp, probs, labels)), axis=1)


def entropies(xp, probs):
    """Returns the entropies, in nats, of probabilities over the last axis."""
    logs = xp.log(xp.where(probs > 0, probs, 1.0))  # 0 log 0 is 0.
    return 0.0 - xp.sum(probs * logs, axis=-1)


def _entropy(xp, probs, labels):
    return entropies(xp, probs)


def _confidence_bins(xp, probs, labels, num_bins):
    confidence, correct = xp.max(probs, axis=1, initial=0), _correct(xp, probs, labels)
    columns = [xp.ones_like(confidence), confidence, correct]
    return _entry(xp, _bins(xp, confidence, num_bins), columns)


def _class_bins(xp, probs, labels, num_bins):
    cells = _bins(xp, xp.reshape(probs, (-1,)), num_bins)
    cells = xp.reshape(cells, (-1, probs.shape[1]))
    cells = cells + num_bins * xp.arange(probs.shape[1])
    columns = [xp.ones_like(probs), probs, _one_hot(xp, probs, labels)]
    return cells, [column[..., None] for column in columns]


def _gap(xp, sums):
    return xp.sum(xp.abs(sums[:, 2] - sums[:, 1]))


def _certain(xp, probs, labels):
    certain = xp.max(probs, axis=1, initial=0) > CERTAIN
    correct = _correct(xp, probs, labels)
    return _entry(xp, xp.where(certain, 1, 0), [xp.ones_like(correct), correct])


def _confusion(xp, probs, labels, threshold=-1.0):
    counted = xp.where(xp.max(probs, axis=1, initial=0) > threshold, 1.0, 0.0)
    cells = labels * probs.shape[1] + xp.argmax(probs, axis=1)
    return _entry(xp, cells, [counted])


def class_ious(xp, sums):
    """Returns the IoU of each class, and whether any label is of it; without, 0."""
    size = math.isqrt(sums.shape[0])
    confusion = xp.reshape(sums, (size, size))
    hits = xp.diagonal(confusion)
    actual, predicted = xp.sum(confusion, axis=1), xp.sum(confusion, axis=0)
    occurs = actual > 0
    union = xp.where(occurs, actual + predicted - hits, 1.0)
    return xp.where(occurs, hits / union, 0.0), occurs


def _mean_iou(xp, sums):
    values, occurs = class_ious(xp, sums)
    return ratio(xp, xp.sum(values), xp.sum(xp.where(occurs, 1.0, 0.0)))


def _mean_recall(xp, sums):
    size = math.isqrt(sums.shape[0])
    confusion = xp.reshape(sums, (size, size))
    actual, occurs = xp.sum(confusion, axis=1), xp.sum(confusion, axis=1) > 0
    recall = xp.diagonal(confusion) / xp.where(occurs, actual, 1.0)
    return ratio(xp, xp.sum(recall), xp.sum(xp.where(occurs, 1.0, 0.0)))


def _groups(xp, probs, labels):
    """For each predicted class: count, squares, hits, labels and probabilities."""
    squares = xp.sum(xp.square(probs), axis=1, keepdims=True)
    hits, one_hot = _of_labels(xp, probs, labels), _one_hot(xp, probs, labels)
    columns = [xp.ones_like(squares), squares, hits, one_hot, probs]
    return xp.argmax(probs, axis=1)[:, None], [column[:, None] for column in columns]


def _ece(xp, sums):
    return ratio(xp, _gap(xp, sums), xp.sum(sums[:, 0]))


def _signed_ece(xp, sums):
    return ratio(xp, xp.sum(sums[:, 1] - sums[:, 2]), xp.sum(sums[:, 0]))


def _rms(xp, sums):
    counts, gaps = sums[:, 0], sums[:, 2] - sums[:, 1]
    squares = xp.square(gaps) / xp.where(counts > 0, counts, 1.0)
    return xp.sqrt(ratio(xp, xp.sum(squares), xp.sum(counts)))


def _maximum(xp, sums):
    counts, gaps = sums[:, 0], xp.abs(sums[:, 2] - sums[:, 1])
    largest = xp.max(gaps / xp.where(counts > 0, counts, 1.0))
    return xp.where(xp.sum(counts) > 0, largest, math.nan)


def _acc_90(xp, sums):
    return ratio(xp, sums[1, 1], sums[1, 0])


def _unc_90(xp, sums):
    wrong = sums[:, 0] - sums[:, 1]
    return ratio(xp, wrong[0], xp.sum(wrong))


def _freq_90(xp, sums):
    return ratio(xp, sums[1, 0], xp.sum(sums[:, 0]))


def _decomposition(xp, sums):
    """Returns uncertainty, resolution, reliability and covariance."""
    num_classes = (sums.shape[1] - 3) // 2
    counts, number = sums[:, 0], xp.sum(sums[:, 0])
    labels, probs = sums[:, 3 : 3 + num_classes], sums[:, 3 + num_classes :]
    overall = ratio(xp, xp.sum(labels, axis=0), number)
    observed = labels / xp.where(counts > 0, counts, 1.0)[:, None]
    squares = xp.sum(xp.square(observed), axis=1)
    distance = xp.sum(xp.square(observed - overall), axis=1)
    # What knowing the group alone would hit.
    hits = xp.sum(probs * observed, axis=1)
    miss = sums[:, 1] - 2 * hits + counts * squares
    return (
        1 - xp.sum(xp.square(overall)),
        ratio(xp, xp.sum(counts * distance), number),
        ratio(xp, xp.sum(miss), number),
        ratio(xp, 2 * xp.sum(sums[:, 2] - hits), number),
    )


def _term(index):
    def shape(num_classes):
        return num_classes, 3 + 2 * num_classes

    return Definition(shape, _groups, lambda xp, sums: _decomposition(xp, sums)[index])


def _bins_shape(num_classes, num_bins):
    return num_bins, 3


def _class_bins_shape(num_classes, num_bins):
    return num_classes * num_bins, 3


def _certain_shape(num_classes):
    return 2, 2


def _confusion_shape(num_classes):
    return num_classes**2, 1


_NUM_BINS = {"num_bins": 15}
_certain_confusion = functools.partial(_confusion, threshold=CERTAIN)

DEFINITIONS = {
    "accuracy": _mean(_correct),
    "top_k": _mean(_top_k, k=5),
    "nll": _mean(_nll),
    "brier": _mean(_brier),
    "brier_uncertainty": _term(0),
    "brier_resolution": _term(1),
    "brier_reliability": _term(2),
    "brier_covariance": _term(3),
    "entropy": _mean(_entropy),
    "ece": Definition(_bins_shape, _confidence_bins, _ece, _NUM_BINS),
    "signed_ece": Definition(_bins_shape, _confidence_bins, _signed_ece, _NUM_BINS),
    "rms_calibration_error": Definition(_bins_shape, _confidence_bins, _rms, _NUM_BINS),
    "maximum_calibration_error": Definition(
        _bins_shape, _confidence_bins, _maximum, _NUM_BINS
    ),
    "class_wise_ece": Definition(_class_bins_shape, _class_bins, _ece, _NUM_BINS),
    "acc_90": Definition(_certain_shape, _certain, _acc_90),
    "unc_90": Definition(_certain_shape, _certain, _unc_90),
    "freq_90": Definition(_certain_shape, _certain, _freq_90),
    "iou": Definition(_confusion_shape, _confusion, _mean_iou),
    "class_accuracy": Definition(_confusion_shape, _confusion, _mean_recall),
    "iou_90": Definition(_confusion_shape, _certain_confusion, _mean_iou),
}
