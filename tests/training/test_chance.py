"""A training that is worth nothing says so."""

import dataclasses
import math

import numpy as np
import pytest

from tests.helpers.data_sets import stripes
from tests.helpers.trainings import RECIPE, dense_model
from training import chance, trainer

TEN = chance.Guess("accuracy", 0.1, 1000)


@pytest.fixture
def said(monkeypatch):
    """The warnings, each a line."""
    lines = []
    monkeypatch.setattr(
        chance.logging, "warning", lambda text, *args: lines.append(text % args)
    )
    return lines


def rows(*accuracies, trained=0.8):
    return [
        {
            **{"epoch": number, "loss": 1.0, "accuracy": trained},
            **{"val_loss": math.nan if x is None else 1.0, "val_accuracy": x or 0.0},
        }
        for number, x in enumerate(accuracies, 1)
    ]


def test_a_guess_is_the_best_constant():
    labels = np.array([[0, 2, 2], [2, -1, 1]])
    found = chance.of_classes(labels)
    assert found == chance.Guess("accuracy", 0.6, 5)
    targets = np.array([1.0, 4.0, 7.0])
    errors = [np.sqrt(np.mean((targets - x) ** 2)) for x in np.linspace(0, 8, 81)]
    found = chance.of_numbers(targets)
    assert found.value == pytest.approx(min(errors))
    assert found.is_beaten(2.4)
    assert not found.is_beaten(2.45)


def test_a_network_that_draws_classes_does_not_beat_a_guess():
    rng = np.random.default_rng(0)
    drawn = rng.binomial(1000, 0.1, 10_000) / 1000
    beaten = np.mean([TEN.is_beaten(value) for value in drawn])
    assert 0.005 < beaten < 0.04  # 2.3 % is beyond two standard errors.
    assert TEN.is_beaten(0.13)
    assert TEN.is_beaten(1.0)
    assert not TEN.is_beaten(0.0)
    assert chance.Guess("accuracy", 1.0, 9).is_beaten(1.0)  # There is nothing to tell.


@pytest.mark.parametrize(
    "accuracies, epochs",
    [
        ((0.3, 0.5, 0.1, 0.1, 0.5, 0.1), [3, 6]),  # It falls, twice.
        ((0.1, 0.1, 0.1, 0.1, 0.1), [3]),  # The warm-up is over.
        ((0.1, 0.1, 0.3, 0.4), []),
        ((None, None, 0.3, None), [1, 4]),
        ((0.1, None, None), [2]),
        ((0.1, 0.1), [2]),  # The training is over.
    ],
)
def test_a_validation_that_collapses_is_told_once(said, accuracies, epochs):
    for number in range(1, len(accuracies) + 1):
        before = len(said)
        found = rows(*accuracies)[:number]
        chance.warn_of_epoch(TEN, found, 1, len(accuracies))
        assert len(said) - before == (number in epochs)
        if number in epochs:
            assert f"of epoch {number} is" in said[-1]
            assert "\n" not in said[-1]


def test_the_line_says_what_to_do(said):
    chance.warn_of_epoch(TEN, rows(0.5, 0.1), 1, 9)
    assert "is 0.1000, no better than the 0.1000 of always predicting the" in said[0]
    assert "That of the training is 0.8000: batch statistics may lag" in said[0]
    assert "`--set=batch_size=`" in said[0]
    chance.warn_of_epoch(TEN, rows(0.1, 0.1, 0.1, trained=0.1), 1, 9)
    assert "So is that of the training, 0.1000: nothing is learned" in said[1]
    chance.warn_of_epoch(TEN, rows(0.5, None), 1, 9)
    assert "The validation loss of epoch 2 is nan. Begin anew" in said[2]
    assert "without `--mixed_precision`" in said[2]


def test_averages_and_the_test_set_are_looked_at_too(said):
    (row,) = rows(0.5)
    own = {"averaged_val_loss": 2.0, "averaged_val_accuracy": 0.1}
    chance.warn_of_end(TEN, {**row, **own}, "averaged_val")
    assert "of the averaged weights is 0.1000, where the weights that are" in said[0]
    assert "a smaller `--set=ema_momentum=`" in said[0]
    chance.warn_of_end(TEN, {"epoch": 1, **own}, "averaged_val")  # Rows were removed.
    assert "is 0.1000, no better than the 0.1000 of always" in said.pop()
    tested = {"test_loss": 2.0, "test_accuracy": 0.1}
    chance.warn_of_end(TEN, {**row, **own, **tested}, "test")
    assert len(said) == 1
    chance.warn_of_end(TEN, {**row, **tested}, "test")
    assert "The test accuracy is 0.1000, no better" in said[1]
    alone = {k: v for k, v in row.items() if not k.startswith("val_")}
    chance.warn_of_end(TEN, {**alone, **tested, "accuracy": 0.1}, "test")
    assert "nothing is learned" in said[2]
    chance.warn_of_end(TEN, {**row, "test_loss": 1.0, "test_accuracy": 0.4}, "test")
    assert len(said) == 3


def test_a_training_that_learns_nothing_says_so(said, tmp_path):
    recipe = dataclasses.replace(RECIPE, learning_rate=1e-9, epochs=4, snapshots=0)
    settings = {"data": stripes(), "validation": stripes(40), "test": stripes(40)}
    trainer.train(dense_model(), recipe, workdir=tmp_path / "idle", **settings)
    assert len(said) == 1
    assert "The validation accuracy of epoch" in said[0]
    assert "which 40 examples do not tell from the 0.5000 of always" in said[0]
