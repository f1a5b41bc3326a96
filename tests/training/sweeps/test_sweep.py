"""Sweeps: all combinations, each kept, those that diverge too."""

import pathlib

import pytest

from training import run
from training.sweeps import settings as sweep_settings
from training.sweeps import sweep


@pytest.fixture
def trained(monkeypatch):
    """Calls of a training that takes no time, of which some learning rates diverge."""
    calls, interrupted = [], []

    def run_training(model, recipe, workdir, changes, **settings):
        calls.append((model, pathlib.Path(workdir).name, tuple(changes), settings))
        if interrupted and len(calls) == interrupted[0]:
            raise KeyboardInterrupt
        if "learning_rate=9" in changes:
            raise FloatingPointError("The loss is nan")
        return {"test_accuracy": 0.5, "epoch": 2, "learning_rate": 1e-9}

    monkeypatch.setattr(run, "run_training", run_training)
    return calls, interrupted


AXES = {"learning_rate": [0.1, 9], "seed": [0, 1]}


def test_a_value_that_cannot_be_is_told_before_anything_is_trained(trained, tmp_path):
    calls, _ = trained
    given = "resnet20", "fashion_mnist", str(tmp_path)
    for axes, message in (
        ({"batch_size": [16, 0]}, "batch_size=0"),
        ({"seed": [0, 1], "epochs": [3, 0]}, "epochs=0"),
        (
            {"optimizer": ["sgd", "adamw"], "momentum": [0.9, 0.8]},
            "optimizer=sgd alone",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            sweep.run_sweep(*given, axes)
    assert not calls


def test_all_combinations_are_trained_and_kept(trained, tmp_path):
    calls, interrupted = trained
    interrupted.append(2)
    given = "resnet20", "fashion_mnist", str(tmp_path), AXES
    with pytest.raises(KeyboardInterrupt):
        sweep.run_sweep(*given, epochs=2, changes=["batch_size=8"], seed=7)
    assert len(sweep_settings.read(tmp_path)) == 1
    interrupted.clear()
    rows = sweep.run_sweep(*given, epochs=2, changes=["batch_size=8"], seed=7)
    assert [call[1] for call in calls] == [
        "learning_rate=0.1+seed=0",
        *2 * ("learning_rate=0.1+seed=1",),
        "learning_rate=9+seed=0",
        "learning_rate=9+seed=1",
    ]
    assert calls[0][0] == "resnet20"
    assert calls[0][2] == ("batch_size=8", "learning_rate=0.1")
    assert calls[-1][3] == {"epochs": 2, "seed": 1}
    assert [row["state"] for row in rows] == 2 * ["trained"] + 2 * ["diverged"]
    assert rows[0]["test_accuracy"] == 0.5
    assert [row["learning_rate"] for row in rows] == [0.1, 0.1, 9, 9]
    assert rows[3]["error"] == "The loss is nan"
    assert sweep_settings.read(tmp_path) == rows
    sweep.run_sweep(*given, epochs=2, changes=["batch_size=8"], seed=7)
    assert len(calls) == 5
    # Of other settings each training says itself what differs.
    sweep.run_sweep(*given, epochs=3, changes=["batch_size=8"], seed=7)
    assert len(calls) == 9
    wider = {**AXES, "learning_rate": [0.1, 9, 0.2]}
    rows = sweep.run_sweep(*given[:3], wider, epochs=3, changes=["batch_size=8"])
    assert len(rows) == len(sweep_settings.read(tmp_path)) == 6


def test_models_and_lists_are_values_too(trained, tmp_path):
    axes = sweep_settings.parse(
        ["model=resnet20,resnet32", 'augmentations=["flip"],["flip","crop2"]']
    )
    sweep.run_sweep("resnet20", "fashion_mnist", str(tmp_path), axes)
    assert [call[0] for call in trained[0]] == ["resnet20"] * 2 + ["resnet32"] * 2
    assert trained[0][-1][2] == ('augmentations=["flip", "crop2"]',)
    assert trained[0][-1][1] == "model=resnet32+augmentations=flip,crop2"


@pytest.mark.parametrize(
    "texts", [["batch_size"], ["=3"], ["seed=0", "seed=1"], ["seed=0,0"], ["seed=1,,2"]]
)
def test_settings_that_are_none_are_refused(texts):
    with pytest.raises(ValueError, match="Received: sweep="):
        sweep_settings.parse(texts)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"workdir": "gs://bucket/runs"}, "workdir=gs://bucket/runs"),
        ({"distribution": "multi_worker"}, "distribution=multi_worker"),
        ({"axes": {"limit": [5]}, "limit": 7}, "limit=7"),
    ],
)
def test_says_what_is_wrong(trained, tmp_path, changes, message):
    given = {"workdir": str(tmp_path), "axes": AXES, **changes}
    with pytest.raises(ValueError, match=message):
        sweep.run_sweep("resnet20", "fashion_mnist", **given)
    assert not trained[0]


def test_the_folder_of_a_single_training_is_left_alone(trained, tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(ValueError, match="of a single training"):
        sweep.run_sweep("resnet20", "fashion_mnist", str(tmp_path), AXES)
