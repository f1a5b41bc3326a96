"""What a constant prediction reaches, and a word where a network does no better."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from zoo import arrays

_ERRORS = 2  # Standard errors by which an accuracy must be above that of a guess.
_FAILED = "Begin anew in another workdir with"
_SLOWER = (
    "a lower `--set=learning_rate=`, more `--set=warmup_epochs=`, or "
    "`--set=clip_norm=1`"
)


@dataclasses.dataclass(frozen=True)
class Guess:
    """What the best constant prediction reaches on a set.

    Attributes:
        metric: Name of the metric of a training that tells.
        value: Of that metric.
        count: The number of examples.
        is_error: Whether less of it is better.
    """

    metric: str
    value: float
    count: int
    is_error: bool = False

    def is_beaten(self, value: float) -> bool:
        """Returns whether a value is better, by more than which examples were drawn.

        Args:
            value: Of the metric.
        """
        if self.is_error:
            return value < self.value
        error = math.sqrt(max(value * (1 - value), 0) / self.count)
        return self.value == 1 or value - _ERRORS * error > self.value


def of_classes(labels: np.ndarray) -> Guess:
    """Returns what the largest class has as an accuracy.

    Args:
        labels: Integer array, of one dimension and more; -1 does not count.
    """
    counts = np.bincount(labels[labels != arrays.UNLABELED])
    return Guess("accuracy", float(counts.max() / counts.sum()), int(counts.sum()))


def of_numbers(targets: np.ndarray) -> Guess:
    """Returns what the mean has as a root mean squared error.

    Args:
        targets: Array of shape `(examples,)`.
    """
    return Guess("rmse", float(np.std(targets)), len(targets), is_error=True)


def warn_of_epoch(
    guess: Guess, rows: Sequence[Mapping], warmup_epochs: int, epochs: int
):
    """Warns if the validation of the last epoch is worth nothing, unless it did before.

    That is at once if it was better before, or is no number; if no epoch was better
    yet, after the second one behind the warm-up, or the last.

    Args:
        guess: On the validation set.
        rows: The metrics of all epochs so far.
        warmup_epochs: Epochs in which the learning rate grows.
        epochs: Of the whole training.
    """
    states = [_state(guess, row, "val") for row in rows]
    since = len(states)
    while since and states[since - 1] == states[-1]:
        since -= 1
    first = since + 1
    if states[-1] == "chance" and since == 0:
        first = min(warmup_epochs + 2, epochs)
    if states[-1] and len(states) == first:
        what = f"validation {{}} of epoch {rows[-1]['epoch']}"
        _warn(guess, rows[-1], "val", what, "", _advice(guess, rows[-1], states[-1]))


def warn_of_end(guess: Guess, row: Mapping, prefix: str):
    """Warns if averaged weights, or a network on the test set, are worth nothing.

    Args:
        guess: On that set.
        row: The last row of the metrics.
        prefix: Of their names, `"averaged_val"` or `"test"`.
    """
    said = any(_state(guess, row, x) for x in ("val", "averaged_val") if x != prefix)
    if said or not (state := _state(guess, row, prefix)):
        return
    if prefix == "test":
        known = "val_loss" in row
        advice = (
            "Look whether its images and labels are like those for training, by "
            "`zoo-data-check`."
            if known
            else _advice(guess, row, state)
        )
        _warn(guess, row, prefix, "test {}", "", advice)
        return
    beside = ""
    if f"val_{guess.metric}" in row:
        last = _shown(row, "val", guess)
        beside = f", where the weights that are averaged have {last}"
    _warn(
        guess,
        row,
        prefix,
        "validation {} of the averaged weights",
        beside,
        "The averages reach too far back: a smaller `--set=ema_momentum=`, or more "
        "`--epochs`, in another workdir.",
    )


def _state(guess, row, prefix):
    """Returns what is wrong with the metrics of a set: "", "nan" or "chance"."""
    own = [v for k, v in row.items() if k.startswith(f"{prefix}_")]
    if not all(map(math.isfinite, own)):
        return "nan"
    value = row.get(f"{prefix}_{guess.metric}")
    return "" if value is None or guess.is_beaten(value) else "chance"


def _advice(guess, row, state):
    if state == "nan":
        return f"{_FAILED} {_SLOWER}, or without `--mixed_precision`."
    if (trained := row.get(guess.metric)) is None:  # Somebody has removed the rows.
        return f"{_FAILED} {_SLOWER}."
    if not guess.is_beaten(trained):
        return (
            f"So is that of the training, {trained:.4f}: nothing is learned. {_FAILED} "
            f"{_SLOWER}, or look at the labels by `zoo-data-check`."
        )
    return (
        f"That of the training is {trained:.4f}: batch statistics may lag behind the "
        f"weights. {_FAILED} {_SLOWER}, or a larger `--set=batch_size=`."
    )


def _shown(row, prefix, guess):
    return f"{row[f'{prefix}_{guess.metric}']:.4f}"


def _warn(guess, row, prefix, what, beside, advice):
    if _state(guess, row, prefix) == "nan":
        text = f"The {what.format('loss')} is {row[f'{prefix}_loss']:.4g}{beside}."
    else:
        constant = "mean" if guess.is_error else "largest class"
        than = "no better than"
        if not guess.is_error and row[f"{prefix}_{guess.metric}"] > guess.value:
            than = f"which {guess.count} examples do not tell from"
        text = (
            f"The {what.format(guess.metric)} is {_shown(row, prefix, guess)}{beside}, "
            f"{than} the {guess.value:.4f} of always predicting the {constant}."
        )
    logging.warning("%s", f"{text} {advice}")
