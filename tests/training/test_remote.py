"""Trainings and evaluations that write behind a URL."""

import dataclasses
import json
import pathlib
import uuid

import keras
import numpy as np
import pytest

from tests.helpers import analyzed
from tests.helpers.data_sets import LABELS, Data, Interrupting, stripes
from tests.helpers.networks import IMAGES, mc_network
from tests.helpers.trainings import RECIPE, dense_model
from training import progress, trainer
from training.analysis import Finding, page, store
from training.analysis.kept import Kept
from training.cli import common, names
from training.data import loading
from training.evaluation import command, predictions
from training.evaluation.sampling import Passes
from zoo.publishing import training_record
from zoo.storage import remote, urls

tf = pytest.importorskip("tensorflow")


@pytest.fixture
def url():
    return f"ram://{uuid.uuid4().hex}/run"


def contents(url):
    """Returns the content of each file in a folder and below, by its name there."""
    found = {}
    for place, _, files in tf.io.gfile.walk(url):
        paths = [f"{place}/{file}" for file in files]
        found |= {path.removeprefix(f"{url}/"): urls.read(path) for path in paths}
    return found


def local_contents(folder):
    paths = (path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_training_goes_on_from_behind_a_url(url, monkeypatch):
    recipe = dataclasses.replace(RECIPE, epochs=2, snapshots=1)

    def fit(seconds=60):
        model = dense_model()
        return trainer.train(model, recipe, stripes(), url, checkpoint_seconds=seconds)

    original, steps = trainer._Keeper.on_train_batch_end, iter(range(1, 1000))

    def interrupted(self, batch, logs=None):
        original(self, batch, logs)
        if next(steps) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer._Keeper, "on_train_batch_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(seconds=0)
    rows = fit()
    assert next(steps) == 11  # No step was done twice.
    found = contents(url)
    assert list(map(json.loads, found["metrics.jsonl"].splitlines())) == rows
    events = [name for name in found if name.startswith("tensorboard/")]
    assert len(events) == len(rows) == 2  # A file for each epoch.
    assert found.keys() - {*events} == {
        *("metrics.jsonl", "checkpoint.safetensors"),
        "snapshots/epoch_00002.safetensors",
    }


def test_predictions_go_on_from_behind_a_url(url, tmp_path, monkeypatch):
    keras.utils.clear_session()
    same = Passes(mc_network(name="random"), (1, 2), 3, 2)
    predictions.store(same, Data(Interrupting(IMAGES, -1)), tmp_path)
    order, send = [], remote.Copy.send

    def sent(self, path):
        order.append(path.name)
        send(self, path)

    monkeypatch.setattr(remote.Copy, "send", sent)
    with remote.local(url) as folder, pytest.raises(KeyboardInterrupt):
        predictions.store(same, Data(Interrupting(IMAGES, 3)), folder / "p")
    assert order[-1] == "meta.json"  # When all that it counts is there.
    assert sorted(order[:-1]) == sorted(
        f"{name}.npy"
        for name in ("energy", "labels", "max_logit", "mutual_information", "probs")
    )
    images, order[:] = Interrupting(IMAGES, 2), []  # Two of four batches are left.
    with remote.local(url) as folder:
        stored = predictions.store(same, Data(images), folder / "p", period=0)
        assert order.count("meta.json") == 1  # Not after each batch.
        np.testing.assert_array_equal(stored.labels, LABELS)
    assert images.reads == 0
    found, expected = contents(f"{url}/p"), local_contents(tmp_path)
    for name in expected.keys() - {"meta.json", ".lock"}:
        assert found[name] == expected[name], name

    def fail(self, path):
        raise ConnectionError(path)

    # What describes others is away before they are replaced.
    monkeypatch.setattr(remote.Copy, "send", fail)
    other = dataclasses.replace(Data(), labels=1 - LABELS % 2)
    with remote.local(url) as folder, pytest.raises(ConnectionError):
        predictions.store(same, other, folder / "p")
    assert "meta.json" not in contents(f"{url}/p")


def test_what_was_kept_before_an_interrupt_is_sent(url):
    passes = Passes(mc_network(), (1, 2), 3, 2)
    with remote.local(url) as folder, pytest.raises(KeyboardInterrupt):
        predictions.store(passes, Data(Interrupting(IMAGES, 3)), folder / "p", period=0)
    # As each batch is kept at once, none is new at the interrupt.
    assert json.loads(contents(f"{url}/p")["meta.json"])["done"] == 4


def test_an_evaluation_behind_a_url_has_the_bits_of_a_local_one(url, tmp_path):
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    keras.Model(inputs, keras.layers.Dense(10)(x)).save(tmp_path / "theirs.keras")

    def evaluate(output):
        settings = command.Settings(
            [str(tmp_path / "theirs.keras")], output, num_samples=(1,), limit=20
        )
        return command.run(settings)

    outcome, local = evaluate(url), evaluate(str(tmp_path / "out"))
    found, expected = contents(url), local_contents(tmp_path / "out")
    assert outcome.files == [f"{url}/{pathlib.Path(f).name}" for f in local.files]
    assert found.keys() == {name for name in expected if not name.endswith(".lock")}
    for name in found:
        if name.endswith((".npy", ".md", ".png")):  # The others have times.
            assert found[name] == expected[name], name


def test_a_folder_of_something_else_is_refused(url):
    urls.write(f"{url}/photo.png", b"")
    with pytest.raises(ValueError, match="is not that of an evaluation.*photo.png"):
        command.check_folder(url)
    assert set(contents(url)) == {"photo.png"}


def test_only_the_chief_of_several_workers_writes(url, monkeypatch):
    from training.distribution import workers

    monkeypatch.setattr(workers, "is_chief", lambda: False)
    with workers.folder(url) as folder:
        progress.write_rows(folder / "rows", [])
    assert not tf.io.gfile.exists(url)


def test_says_in_a_line_that_memory_ends_with_the_command(caplog):
    for output in ("runs/it", "gs://bucket/it", "ram://runs/it"):
        names.check(output=output)
    (record,) = caplog.records
    assert "'ram://runs/it' is memory of this process" in record.getMessage()


def test_refuses_urls_where_paths_are_needed():
    for place in ("gs://bucket/model.tflite", "s3://bucket/it", "gs:/bucket/it"):
        assert not common.is_local(place)
    assert common.is_local("runs/it")
    with pytest.raises(ValueError, match="Received: dataset=gs://bucket/photos"):
        loading.check_names(["gs://bucket/photos"])
    with pytest.raises(ValueError, match="gs://, s3://. Received: data_dir=ram://x"):
        loading.check_names(["cifar10"], "ram://x")
    with pytest.raises(FileNotFoundError, match="copy.*Received: gs://bucket/run"):
        training_record.read("gs://bucket/run")
    with pytest.raises(ValueError, match="Received: hf://owner/run"):
        names.check(output="hf://owner/run")


def test_analyses_go_on_and_add_to_the_page_behind_a_url(url):
    facts = {"dataset": "digits", "seed": 0, "commit": "c", "backend": "b"}
    facts |= {"analysis": "hessian", "num_examples": 3, "metric": "loss", "value": 1.5}
    made = []

    def make(name):
        made.append(name)
        return Finding([{**facts, "model": name}])

    for name in ("first", "second", "second"):
        with remote.local(url) as folder:
            place = store.Place(folder, "hessian", name, "digits")
            kept = Kept(place.partial({}), [], analyzed.images(), seed=0)
            place.write(kept("part", make, name), {})
            kept("old", make, "old")
            kept.drop("old")
            page.write(folder)
    rows = contents(url)["rows.jsonl"].decode().splitlines()
    assert [json.loads(row)["model"] for row in rows] == ["first", "second"]
    assert made == ["first", "old", "second", "old", "old"]
    assert not [file for file in contents(url) if file.endswith("old.npz")]
