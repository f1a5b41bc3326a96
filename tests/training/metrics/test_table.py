import dataclasses

import numpy as np
import pytest

from training import metrics, task
from training.metrics import display, table
from training.report import tables
from zoo.presets import index
from zoo.publishing import results


def test_each_metric_has_a_heading_and_its_name_once():
    headings = [metric.heading for metric in metrics.METRICS.values()]
    assert len(set(headings)) == len(headings)
    assert all(name == metric.name for name, metric in metrics.METRICS.items())
    functions = metrics.CLASSIFICATION, metrics.DETECTION, metrics.SEQUENCES
    names = [name for group in functions for name in group]
    assert len(set(names)) == len(names)


def test_cards_of_the_package_have_the_metrics_of_a_card():
    for preset in index.read().values():
        for row in (*preset.results, *preset.others):
            shows = metrics.CARD.shows_mean if results.is_mean(row) else None
            assert (shows or metrics.CARD.shows)(row["metric"]), row


def test_scores_and_references_follow_the_row_of_their_metric():
    assert metrics.CARD.shows("auroc/entropy")
    assert not metrics.CARD.shows("auroc/energy")
    assert not metrics.CARD.shows("auroc")
    assert metrics.CARD.shows("mce/resnet20.fashion_mnist")
    assert not metrics.CARD.shows("mcnll/resnet20.fashion_mnist")
    assert not metrics.CARD.shows("of somebody else")


def test_a_metric_is_one_row(monkeypatch):
    def wrong(probs, labels):
        return float(np.mean(probs.argmax(axis=1) != labels))

    row = table.Metric("wrong", "Wrong (%)", wrong, 100, 1, -1, card="wrong")
    monkeypatch.setitem(table.METRICS, row.name, row)
    probs = np.eye(4)[[0, 1, 2, 3]]
    value = row.function(probs, np.array([0, 1, 1, 3]))
    assert value == 0.25
    assert display.heading("wrong") == "Wrong (%)"
    assert display.number("wrong", value) == "25.0"
    assert display.better("wrong") == -1
    measured = {"model": "m", "dataset": "d", "num_samples": 1, "metric": "wrong"}
    measured |= {"value": value, "num_examples": 4, "seed": 0}
    assert "Wrong (%)" in tables.markdown([measured])
    assert [r["value"] for r in results.select([measured], metrics.CARD)] == [0.25]
    plain = dataclasses.replace(row, card=None)
    monkeypatch.setitem(table.METRICS, row.name, plain)
    assert results.select([measured], metrics.CARD) == []


@pytest.mark.parametrize("name", metrics.CLASSIFICATION)
def test_evaluations_have_every_metric_of_probabilities(name):
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    labels = np.arange(20) % 3
    found = dict(task.TASKS["classification"].measure(probs, labels, ()))
    assert metrics.CLASSIFICATION[name] is metrics.METRICS[name].function
    np.testing.assert_equal(found[name], metrics.CLASSIFICATION[name](probs, labels))
