"""From names to a folder of findings, and back where it was interrupted."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest

import zoo
from tests.helpers import analyzed
from training import analysis
from training.analysis import ANALYSES, Finding, command, page, store
from training.cli import names, tables
from training.report import rows as report_rows
from zoo.posterior import MonteCarlo
from zoo.presets import weight_file

DIGITS = {"shape": (8, 8, 1), "num_classes": 10}


@pytest.fixture
def paths(tmp_path):
    """Returns files of two models for images of digits."""
    found = [tmp_path / "one.keras", tmp_path / "two.keras"]
    for path in found:
        analyzed.chain(**DIGITS).save(path)
    return list(map(str, found))


def settings(paths, output, **changes):
    given = {"what": ["features"], "dataset": "digits", "limit": 20, "batch_size": 10}
    return command.Settings(paths, str(output), **{**given, **changes})


def test_what_is_found_is_written_and_kept(paths, tmp_path, monkeypatch):
    output = tmp_path / "out"
    given = settings(paths, output, what=["features", "similarity"])
    first = command.run(given)
    assert [pathlib.Path(p).name for p in first[:2]] == ["report.html", "rows.jsonl"]
    assert all(pathlib.Path(path).is_file() for path in first)
    rows = report_rows.read_rows(output / "rows.jsonl")
    pairs = {(r["analysis"], r["model"]) for r in rows}
    assert pairs == {
        *(("features", "one"), ("features", "two"), ("similarity", "one and two")),
    }
    common = {"dataset", "seed", "num_examples", "batch_size", "commit", "split"}
    assert all(common <= row.keys() for row in rows)
    own = analysis.features(
        command.load(given)["one"],
        command.data.load("digits", "test").sample(20),
        batch_size=10,
    )
    kept = store.Place(output, "features", "one", "digits").read()
    for name, values in own.arrays.items():
        np.testing.assert_array_equal(kept.arrays[name], values)
    assert [row["value"] for row in kept.rows] == [row["value"] for row in own.rows]
    text = (output / "report.html").read_text()
    for words in ("Feature maps", "Similarity", "one and two", "data:image/svg"):
        assert words in text
    assert str(tmp_path) not in (output / "rows.jsonl").read_text()

    done = []

    def again(model, dataset, *, batch_size=10, seed=0, progress=None, **_):
        done.append(model.name)
        return Finding([{"metric": "spatial_variance", "value": 1.0, "layer": "a"}])

    again.__signature__ = command.inspect.signature(ANALYSES["features"].function)
    changed = dataclasses.replace(ANALYSES["features"], function=again)
    monkeypatch.setitem(ANALYSES, "features", changed)
    command.run(given)
    assert not done  # It was all there.
    command.run(settings(paths[:1], output, seed=1))
    assert len(done) == 1
    rows = report_rows.read_rows(output / "rows.jsonl")  # With those of other calls.
    assert {r["seed"] for r in rows if r["analysis"] == "features"} == {0, 1}
    assert any(r["analysis"] == "similarity" for r in rows)


def test_what_was_found_before_an_error_is_kept(paths, tmp_path, monkeypatch):
    def fails(model, dataset, *, batch_size=10, seed=0, progress=None):
        raise FloatingPointError("not finite")

    broken = dataclasses.replace(ANALYSES["lesions"], function=fails)
    monkeypatch.setitem(ANALYSES, "lesions", broken)
    output = tmp_path / "out"
    with pytest.raises(FloatingPointError, match="not finite"):
        command.run(settings(paths[:1], output, what=["features", "lesions"]))
    assert store.Place(output, "features", "one", "digits").read() is not None
    assert (output / "report.html").is_file()


def test_a_table_has_a_line_of_each_path_and_quantile(tmp_path):
    paths = [
        {"metric": "barrier", "value": value, "of": "loss", "path": path}
        for path, value in (("line", 7.25), ("curve", 0.5))
    ]
    quantiles = [
        {"metric": "largest_eigenvalue", "value": 100 * share, "quantile": share}
        for share in (0.05, 0.95)
    ]
    curves = ("loss", "nll", "error")
    arrays = {f"{path}/{m}": np.ones(3) for path in ("line", "curve") for m in curves}
    arrays["t"] = np.linspace(0, 1, 3)
    facts = {"seed": 0, "commit": "c", "backend": "b", "num_examples": 3}
    for name, rows, found in (
        ("connectivity", paths, arrays),
        ("hessian", quantiles, {}),
    ):
        own = {"analysis": name, "model": "a and b", "dataset": "digits", **facts}
        place = store.Place(tmp_path, name, "a and b", "digits")
        place.write(Finding([{**own, **row} for row in rows], found), {})
    page.write(tmp_path)
    text = (tmp_path / "report.html").read_text()
    for words in ("path line", "path curve", "quantile 0.05", "quantile 0.95"):
        assert words in text
    assert "7.25" in text


def test_half_a_finding_is_none(tmp_path):
    place = store.Place(tmp_path, "features", "a/b", "digits")
    found = Finding([{"metric": "m", "value": float("nan")}], {"x": np.arange(3)})
    place.write(found, {"seed": 1})
    assert np.isnan(place.read({"seed": 1}).rows[0]["value"])
    assert place.read({"seed": 2}) is None
    assert place.partial({"seed": 1}) != place.partial({"seed": 2})
    (place.folder / "rows.jsonl").unlink()
    assert place.read() is None
    with pytest.raises(ValueError, match="called otherwise. Received: 'meta'"):
        place.write(Finding([], {"meta": np.zeros(1)}), {})


def test_models_are_names_files_and_folders(tmp_path):
    model = zoo.build("lenet5", (28, 28, 1), num_classes=10)
    weight_file.save_weights(model, tmp_path / "mine" / "model.safetensors")
    folder = str(tmp_path / "mine")
    given = command.Settings([folder, "lenet5"], "out", weights=["", folder])
    loaded = command.load(given)
    assert list(loaded) == ["lenet5 (mine)", "lenet5 (mine)#2"]
    for own in loaded.values():
        np.testing.assert_array_equal(own.weights[-1], model.weights[-1])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"what": ["feature"]}, "Unknown analysis 'feature'. Did you mean 'features'"),
        ({"what": []}, "Name an analysis: features, fourier"),
        (
            {"changes": ["fourier:noise=2"]},
            "A setting of 'fourier', which is not asked",
        ),
        (
            {"changes": ["features:seed=2"]},
            "Settings of the analysis 'features': num_s",
        ),
        ({"changes": ["feature:seed=2"]}, "Unknown analysis 'feature'"),
        ({"what": ["similarity"], "model": ["a.keras"]}, "compares two models"),
        ({"weights": ["a"]}, "as many entries as `--model`"),
        ({"weights": ["a", ""]}, "one.keras' has its own weights"),
        ({"model": ["resnet20@mc"]}, "name a model without a posterior"),
        ({"model": ["resnet20.fashion_mnist*2"]}, "this is an ensemble"),
        ({"model": ["resnet21"]}, "resnet21"),
        ({"dataset": "digit"}, "Did you mean 'digits'"),
        ({"limit": 5}, "'digits' is smaller than a batch"),
    ],
)
def test_mistakes_are_named(paths, tmp_path, changes, message):
    given = dataclasses.replace(settings(paths, tmp_path / "out"), **changes)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        command.run(given)


@pytest.mark.parametrize("name", ["notes.txt", "rows.jsonl"])
def test_a_folder_of_something_else_is_left_alone(paths, tmp_path, name):
    output = tmp_path / "out"
    output.mkdir()
    (output / name).write_text("")
    with pytest.raises(ValueError, match=f"is not that of analyses: it holds {name}"):
        command.run(settings(paths, output))


def test_settings_are_numbers_lists_and_words():
    texts = [
        "features:layers=all:num_samples=3",
        'fourier:layers=["a","b"]:noise=8/2',
        "fourier:width=0.2",
    ]
    assert command.read_settings(["features", "fourier"], texts) == {
        "features": {"layers": "all", "num_samples": 3},
        "fourier": {"layers": ["a", "b"], "noise": 4.0, "width": 0.2},
    }


def test_names_are_known_without_keras():
    assert tables.analyses() == list(ANALYSES)
    with pytest.raises(ValueError, match="Did you mean 'lesions'"):
        names.check(analyses=["lesion"])


def test_a_posterior_is_no_network_to_look_into():
    with pytest.raises(ValueError, match="not a posterior"):
        analysis.lesions(MonteCarlo(analyzed.chain()), analyzed.images())
