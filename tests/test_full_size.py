"""What `make full-size` runs, and that it would see what is wrong."""

import dataclasses
import os
import signal

import keras
import numpy as np
import pytest

import zoo
from tests.full_size import (
    child,
    compare,
    documents,
    inputs,
    networks,
    plan,
    recipes,
    validation,
)
from tests.full_size.job import Outcome, Run, Step
from training import data
from training.data.readers import cifar_files
from training.run import load_recipe

FIGURES = {"loss": 1.5, "test_loss": 2.25, "test_accuracy": 0.1234}
WEIGHTS = {"test": {"nll": 2.25, "accuracy": 0.1234}}


def outcome(name="b", like="a", exact=False, validated=True, **figures):
    run = Run(name, (), 2, like, exact, validated=validated)
    return Outcome(run, "tensorflow", figures=FIGURES | figures)


def judged(other, computed=None, **figures):
    """Returns what is said of figures that are compared with `FIGURES`."""
    compare.judge(other, {"a": outcome("a", None, **figures), "b": other}, computed)
    return other.verdict, other.problem


@pytest.mark.parametrize(
    "backend, counts", [("tensorflow", {1, 2, 3, 4, 8}), ("jax", {1, 8})]
)
def test_every_recipe_runs_on_one_to_eight_devices_and_is_resumed(backend, counts):
    runs = recipes.runs(backend)
    for name in recipes.names():
        own = [run for run in runs if run.name.startswith(f"{name} ")]
        if name in recipes.LIKE:
            assert len(own) == 1
            continue
        assert {run.devices for run in own if not run.half} == counts
        assert {run.half for run in own} == {False, True}
        assert any(step.stop_after for run in own for step in run.steps)
    names = [run.name for run in runs]
    assert len(set(names)) == len(names)
    assert {run.like for run in runs} - {None} <= set(names)


def test_recipes_on_fewer_devices_have_the_sizes_of_another_one():
    for name, other in recipes.LIKE.items():
        ours, theirs = map(load_recipe, (name, other))
        for setting in ("batch_size", "holdout"):
            assert getattr(ours, setting) == getattr(theirs, setting)
        assert ours.dataset.startswith(theirs.dataset) or "cifar" in ours.dataset


def test_documented_commands_run_unless_they_cannot():
    found = [words for path in documents.FILES for words in documents.commands(path)]
    lines = [" ".join(words) for words in found]
    assert {words[0] for words in found} == {
        *("make", "python", "zoo-evaluate", "zoo-export", "zoo-publish", "zoo-train"),
        *("zoo-analyze", "zoo-sample", "zoo-compress", "zoo-stream"),
    }
    assert any("--distribution=mirrored" in line for line in lines)
    assert any("--suite=ovadia" in line for line in lines)
    assert any("ema_momentum" in line for line in lines)
    assert not any("hf://" in line for line in lines)
    assert not any("..." in line for line in lines)
    whole = "make", "python", "zoo-publish --package="
    assert all("--model=" in line or line.startswith(whole) for line in lines)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_no_two_runs_share_a_folder(backend):
    names = [run.name.replace(" ", "_") for run in plan.plan(backend)]
    assert len(set(names)) == len(names)


def test_jax_has_a_distribution_of_its_own():
    for run in plan.plan("jax"):
        for step in run.steps:
            assert "--distribution=mirrored" not in step.words
            if run.devices > 1 and run.validated:
                assert "--distribution=data_parallel" in step.words


def test_equal_figures_are_equal():
    assert judged(outcome(), WEIGHTS) == ("equal", "")
    assert judged(outcome(exact=True), WEIGHTS) == ("equal", "")


@pytest.mark.parametrize(
    "figure, value, word",
    [
        ("test_accuracy", 0.1235, "test_accuracy"),
        ("test_loss", 2.2501, "test_loss"),
        ("loss", 1.51, "loss"),
        ("loss", np.nan, "loss"),
    ],
)
def test_one_image_of_10000_and_other_differences_are_seen(figure, value, word):
    verdict, problem = judged(outcome(**{figure: value}), WEIGHTS)
    assert verdict == "differs"
    assert word in problem


def test_rounding_that_updates_multiply_is_no_difference():
    other = outcome(validated=False, loss=1.5001, test_loss=2.3, test_accuracy=0.1244)
    assert judged(other) == ("equal", "")
    assert judged(outcome(validated=False, test_loss=2.4))[0] == "differs"


def test_a_resumed_training_has_the_same_bits():
    assert judged(outcome(test_loss=2.2500001))[0] == "equal"
    assert judged(outcome(test_loss=2.2500001, exact=True))[0] == "differs"
    assert judged(outcome(loss=1.5000001, exact=True))[0] == "equal"
    assert judged(outcome(loss=1.50001, exact=True))[0] == "differs"


def test_figures_that_are_not_there_are_no_success():
    assert judged(outcome(more=1.0))[0] == "differs"
    assert judged(outcome(), {})[0] == "differs"
    nothing = dataclasses.replace(outcome(), figures={})
    assert judged(nothing, WEIGHTS)[0] == "differs"


def test_a_failure_stays_one():
    failed = dataclasses.replace(outcome(), problem="ended with 1", verdict="failed")
    assert judged(failed, WEIGHTS) == ("failed", "ended with 1")


@pytest.mark.parametrize(
    "name",
    ["resnet50_smooth_mcdo", "vgg16_mcdo", "wide_resnet28_10", "resnet18d"],
)
def test_narrow_networks_have_a_few_filters(name, tmp_path):
    before = zoo.registry.ARCHITECTURES["resnet50"]
    with networks.Narrow(tmp_path):
        model = zoo.build(name, (28, 28, 1), 10)
    assert model.count_params() < 600_000  # Of 23 million, for the first.
    assert zoo.registry.ARCHITECTURES["resnet50"] is before


def test_the_validation_is_that_of_keras():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"])
    images, labels = inputs.noise(1234, (2, 2, 1), 3)
    test = data.ImageData("noise", images, labels.astype("int32"), tuple("abc"))
    nll, accuracy = model.evaluate(images, labels, verbose=0)
    found = validation._measure(model, test)
    assert found["nll"] == pytest.approx(nll, rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy, rel=1e-6)


def fitted(step, updates, done=0, steps=9):
    """Fits a model of one weight; returns its updates."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    model.optimizer.iterations.assign(done)
    ones = np.ones((4 * steps, 1))
    fit = child._fit(step, updates)
    options = {"batch_size": 4, "verbose": 0, "shuffle": False}
    fit(model, ones, ones, steps_per_epoch=steps - done, **options)
    return int(model.optimizer.iterations)


def test_epochs_are_cut_and_whole_ones_are_not():
    assert fitted(Step(()), 3) == 3
    assert fitted(Step(()), 3, done=2) == 3
    assert fitted(Step((), whole=True), 3) == 9
    assert fitted(Step(()), None) == 9


def test_a_command_is_interrupted_after_an_update(monkeypatch):
    killed = []
    monkeypatch.setattr(os, "kill", lambda *call: killed.append(call))
    fitted(Step((), stop_after=2), 3)
    assert killed == [(os.getpid(), signal.SIGINT)]


def test_images_are_in_the_published_layouts(tmp_path):
    inputs.idx(tmp_path, 24, 8)
    train = data.load("fashion_mnist", "train", str(tmp_path), holdout=0)
    images, labels = inputs.noise(24, (28, 28, 1), 10)
    np.testing.assert_array_equal(train.images, images)
    np.testing.assert_array_equal(train.labels, labels)
    inputs.photos(tmp_path / "photos")
    folder = str(tmp_path / "photos")
    counts = [len(data.load(folder, split, holdout=0)) for split in ("train", "test")]
    assert counts == [523, 57]


def test_prepared_images_are_read_by_tensorflow_datasets(tmp_path):
    inputs.tfds(tmp_path, "cifar10", {"train": (7, 2), "test": (3, 1)})
    train = data.load("cifar10", "train", str(tmp_path))
    assert train.images.shape == (7, 32, 32, 3)
    assert len(data.load("cifar10", "test", str(tmp_path))) == 3


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_binary_files_are_read_as_cifar(name, tmp_path, monkeypatch):
    layout = next(x for x in cifar_files.LAYOUTS[name] if "-py" not in x.folder)
    size = len(layout.parts["train"]) * 7
    monkeypatch.setitem(layout.counts, "train", 7)
    monkeypatch.setitem(layout.counts, "test", 4)
    (tmp_path / layout.folder).mkdir()
    inputs.cifar(tmp_path / layout.folder, name, (size, 4))
    pixels, labels = inputs.noise(size, (3, 32, 32), int(name.removeprefix("cifar")))
    train = data.load(name, "train", str(tmp_path), holdout=0)
    np.testing.assert_array_equal(train.images, np.moveaxis(pixels, 1, -1))
    np.testing.assert_array_equal(train.labels, labels)
    assert len(data.load(name, "test", str(tmp_path))) == 4
