"""Phases of trainings, of a sweep whose measures are known."""

import json

import numpy as np
import pytest

import zoo
from tests.helpers import analyzed
from training import analysis, data
from training.analysis import Finding, phase_diagram, weight_figures
from training.sweeps import settings as sweep_settings
from training.sweeps import sweep

NAMES = [*phase_diagram.REGIONS]


def write(folder, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / sweep_settings.SUMMARY_FILE).write_text(text)
    return folder


def row(limit, batch_size, seed, state="trained", **more):
    own = {"limit": limit, "batch_size": batch_size, "seed": seed}
    name = "+".join(f"{key}={value}" for key, value in own.items())
    return {"folder": name, **own, "state": state, "settings": {}, **more}


@pytest.fixture
def measured(monkeypatch):
    """Measures of combinations that take no time; returns those that are asked for."""
    values = {
        (100, 8): (90.0, -30.0, 0.2),
        (100, 64): (1.0, -20.0, 0.3),
        (900, 8): (100.0, -1.0, 0.4),
        (900, 64): (2.0, 0.0, 0.9),
    }
    asked = []

    def measure(sweep, trainings, dataset, **settings):
        place = trainings[0]["limit"], trainings[0]["batch_size"]
        asked.append(place)
        assert len(trainings) == 2
        if any(training["state"] != "trained" for training in trainings):
            return Finding([], {})
        names = "sharpness", "connectivity", "similarity"
        found = dict(zip(names, values[place], strict=True))
        found |= {"train_error": 0.1, "accuracy": 0.8}
        return Finding([], {k: np.float64(v) for k, v in found.items()})

    monkeypatch.setattr(phase_diagram, "_measured", measure)
    return asked


def grid(state="trained"):
    return [
        row(limit, size, seed, state if (limit, size) == (900, 64) else "trained")
        for limit in (900, 100)
        for size in (64, 8)
        for seed in (0, 1)
    ]


def test_regions_are_those_of_the_limits(measured, tmp_path):
    folder = write(tmp_path, grid())
    given = {"folder": tmp_path / "kept", "batch_size": 5}
    found = analysis.phases(folder, analyzed.images(), **given)
    assert {r["images"] for r in found.rows} == {10}  # Of twelve in whole batches.
    assert found.arrays["loads"].tolist() == ["100", "900"]
    assert found.arrays["temperatures"].tolist() == ["8", "64"]
    assert found.arrays["settings"].tolist() == ["limit", "batch_size"]
    regions = [[NAMES[n] for n in line] for line in found.arrays["region"]]
    assert regions == [["I", "II"], ["III", "IV-B"]]
    rows = [r for r in found.rows if r["metric"] == "region"]
    assert [r["name"] for r in rows] == ["I", "II", "III", "IV-B"]
    np.testing.assert_allclose(rows[0]["flat_below"], 10.0)
    np.testing.assert_allclose(rows[0]["similar_above"], 0.55)
    assert found.values("sharpness", load=900, temperature=8) == [100.0]
    assert len(measured) == 4
    again = analysis.phases(folder, analyzed.images(), similar_above=0.95, **given)
    assert NAMES[again.arrays["region"][1, 1]] == "IV-A"
    assert len(measured) == 4  # All of them were kept.
    figures = weight_figures.plot_phases({"grid": found})
    assert list(figures) == ["Phases of grid", "What the phases of grid are found by"]


def test_where_a_training_diverged_there_is_no_phase(measured, tmp_path):
    folder = write(tmp_path, grid("diverged"))
    found = analysis.phases(folder, analyzed.images())
    assert found.arrays["region"].tolist() == [[0, 1], [2, -1]]
    last = [r for r in found.rows if r["metric"] == "region"][-1]
    assert (last["name"], last["value"]) == ("diverged", -1)
    assert not [r for r in found.rows if not np.isfinite(r["value"])]


@pytest.mark.parametrize(
    "rows, settings, message",
    [
        (grid()[:7], {}, "one training of limit=100, batch_size=8"),
        (grid(), {"load": "width"}, "load=width.*over limit, batch_size"),
        (grid(), {"temperature": "limit", "load": "limit"}, "temperature=limit"),
        (
            [
                {"folder": r["folder"], "rate": rate, **r}
                for rate in (0.1, 0.5)
                for r in grid()
            ],
            {"load": "limit"},
            "has others. Received: values of rate: 0.1, 0.5",
        ),
        (
            [*grid(), {"folder": "other", "limit": 5, "seed": 0, "state": "trained"}],
            {},
            "'other', without a value of batch_size",
        ),
    ],
)
def test_says_what_is_wrong(measured, tmp_path, rows, settings, message):
    write(tmp_path, rows)
    with pytest.raises(ValueError, match=message):
        analysis.phases(tmp_path, analyzed.images(), **settings)


def test_a_folder_of_no_sweep_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="zoo-train --sweep"):
        analysis.phases(tmp_path, analyzed.images())


@pytest.mark.slow
def test_a_sweep_of_trainings_is_measured(tmp_path):
    axes = {"limit": [100, 300], "batch_size": [16, 50], "seed": [0, 1]}
    given = {"dataset": "mnist", "epochs": 2, "changes": ["holdout=0"]}
    rows = sweep.run_sweep("mlp", "fashion_mnist", str(tmp_path), axes, **given)
    assert [row["state"] for row in rows] == 8 * ["trained"]
    digits = data.load("mnist", "train").sample(120)
    small = {"batch_size": 30, "epochs": 1, "num_images": 60}
    found = analysis.phases(tmp_path, digits, **small)
    assert np.isfinite(found.arrays["sharpness"]).all()
    assert (found.arrays["region"] >= 0).all()
    tops = []
    for seed in (0, 1):
        place = tmp_path / f"limit=100+batch_size=50+seed={seed}"
        one = analysis.hessian(
            zoo.load("mlp", weights=place),
            digits,
            batch_size=30,
            augmentations="none",
            weight_decay=0.0,
            num_batches=1,
            count=1,
            probes=0,
            steps=0,
        )
        tops += one.values("eigenvalue")
    wanted = np.sqrt(np.abs(np.prod(tops)))
    both = found.values("sharpness", load=100, temperature=50)
    np.testing.assert_allclose(both, [wanted], rtol=1e-3)
