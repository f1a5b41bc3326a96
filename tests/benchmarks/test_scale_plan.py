"""The plan of a large evaluation: its numbers against files, and by hand."""

import pytest

from benchmarks.scale_plan import Plan, tables
from tests.helpers.data_sets import LABELS, Data
from tests.helpers.networks import mc_network
from training.evaluation import predictions
from training.evaluation.sampling import Passes


def test_predictions_take_what_the_plan_says(tmp_path):
    passes = Passes(mc_network(name="random"), (1, 2), seed=0, batch_size=4)
    predictions.store(passes, Data(), tmp_path)
    plan = Plan(rate=1, sets=1, images=len(LABELS), models=1, sizes=2, classes=3)
    arrays = [path.stat().st_size for path in tmp_path.glob("*.npy")]
    assert sum(arrays) == plan.stored
    assert len([*tmp_path.iterdir()]) == plan.files


def test_hours_and_prices_by_hand():
    plan = Plan(rate=100, sets=2, images=1800, models=5, samples=10, metrics=36)
    assert plan.passes == 180_000
    assert plan.hours(1) == pytest.approx(0.5)
    assert plan.money(1) == pytest.approx(0.5 * plan.price)
    assert plan.hours(4) == pytest.approx(0.5 / (4 * 0.9))
    assert plan.hours(64) == pytest.approx(2 * 5 * 36 / 3600)  # The metrics.
    assert plan.money(64) == pytest.approx(64 * 0.1 * plan.price)
    assert plan.reads(1) == 10  # Each image is passed ten times.


def test_there_is_a_line_for_each_number_of_devices():
    *_, first, last = tables(Plan(rate=1000), [1, 64]).splitlines()
    assert first.split()[1] == "1"
    assert first.split()[3] == f"{75 * 50_000 * 5 * 10 / 1000 / 3600:.1f}"
    assert last.split()[1] == "64"
