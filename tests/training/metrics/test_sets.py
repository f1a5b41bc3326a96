"""The metrics of prediction sets, against counts by hand and loops."""

import numpy as np
import pytest

from training import metrics
from training.metrics import display

SETS = np.array(
    [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], bool
)
LABELS = np.array([0, 2, 2, 1, 0, 1])


def test_the_values_are_those_counted_by_hand():
    found = {name: of(SETS, LABELS) for name, of in metrics.SETS.items()}
    assert found == pytest.approx(
        {
            "coverage": 3 / 6,
            "set_size": (1 + 2 + 0 + 1 + 1 + 3) / 6,
            "class_coverage": 0,  # Of class 2.
            "answered": 5 / 6,
            "risk": 2 / 5,
        }
    )
    assert metrics.class_coverage(SETS[[0, 4, 3, 5]], LABELS[[0, 4, 3, 5]]) == 0.5


def test_they_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    sets, labels = rng.uniform(size=(200, 7)) < 0.4, rng.integers(0, 7, 200)
    sets[0], hits, sizes = False, [], []
    for row, label in zip(sets.tolist(), labels.tolist(), strict=True):
        hits.append(row[label])
        sizes.append(sum(row))
    kept = [hit for hit, size in zip(hits, sizes, strict=True) if size]
    by_class = [
        np.mean([h for h, y in zip(hits, labels, strict=True) if y == k])
        for k in range(7)
    ]
    assert metrics.coverage(sets, labels) == pytest.approx(np.mean(hits))
    assert metrics.set_size(sets, labels) == pytest.approx(np.mean(sizes))
    assert metrics.answered(sets, labels) == pytest.approx(len(kept) / 200)
    assert metrics.risk(sets, labels) == pytest.approx(1 - np.mean(kept))
    assert metrics.class_coverage(sets, labels) == pytest.approx(min(by_class))


def test_no_answer_has_no_risk():
    assert np.isnan(metrics.risk(np.zeros((3, 4), bool), [0, 1, 2]))


def test_a_row_is_shown_with_the_name_of_its_decision():
    assert display.heading("coverage/aps_90") == "Coverage of aps_90 (%)"
    assert display.heading("set_size/aps_90") == "Set size of aps_90"
    assert display.number("coverage/aps_90", 0.9123) == "91.23"
    assert display.better("set_size/lac_90") == -1
