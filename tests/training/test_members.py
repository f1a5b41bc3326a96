"""Trainings of several members: kept when a later one fails, and one folder at last."""

import json
import pathlib

import pytest

from training import members, run
from zoo import finding


@pytest.fixture
def trained(monkeypatch):
    """Calls of a training that takes no time, of which some seeds fail."""
    calls, failing = [], set()

    def run_training(model, recipe, workdir, seed, **settings):
        calls.append((model, recipe, seed, settings))
        if seed in failing:
            raise FloatingPointError("The loss is nan")
        folder = pathlib.Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_text(str(seed))
        return {"test_loss": seed}

    monkeypatch.setattr(run, "run_training", run_training)
    return calls, failing


def test_members_train_one_after_the_other_and_stay(trained, tmp_path):
    calls, failing = trained
    failing.add(6)
    arguments = "resnet20", "fashion_mnist", str(tmp_path / "runs"), 3
    with pytest.raises(FloatingPointError):
        members.run_members(*arguments, seed=4, epochs=2)
    assert (tmp_path / "runs/seed5/model.safetensors").read_text() == "5"
    assert not (tmp_path / "runs" / finding.ENSEMBLE_FILE).exists()
    failing.clear()
    rows = members.run_members(*arguments, seed=4, epochs=2)
    assert rows == [{"test_loss": seed} for seed in (4, 5, 6)]
    assert [call[2] for call in calls] == [4, 5, 6, 4, 5, 6]
    assert calls[0][3] == {"epochs": 2}
    written = json.loads((tmp_path / "runs" / finding.ENSEMBLE_FILE).read_text())
    assert written == {"members": ["seed4", "seed5", "seed6"]}
    places = finding.places(tmp_path / "runs")
    assert places == [str(tmp_path / "runs" / f"seed{n}") for n in (4, 5, 6)]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_members": 1}, "num_members=1"),
        ({"num_members": 0}, "num_members=0"),
        ({"workdir": "gs://bucket/runs"}, "workdir=gs://bucket/runs"),
        ({"distribution": "multi_worker"}, "distribution=multi_worker"),
    ],
)
def test_says_what_is_wrong(trained, tmp_path, changes, message):
    given = {"workdir": str(tmp_path / "runs"), "num_members": 2, **changes}
    with pytest.raises(ValueError, match=message):
        members.run_members("resnet20", "fashion_mnist", **given)
    assert not trained[0]


def test_the_folder_of_a_single_training_is_left_alone(trained, tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(ValueError, match="of a single training"):
        members.run_members("resnet20", "fashion_mnist", str(tmp_path), 2)
