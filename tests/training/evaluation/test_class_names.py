"""Labels are matched by the names of classes, or refused, at every door."""

import copy
import dataclasses

import keras
import numpy as np
import pytest

from training import initial_weights, trainer
from training.data import ImageData, fingerprint
from training.data.image_data import Numbers
from training.data.readers import label_files
from training.evaluation import class_names, evaluate, external_models, sweep
from training.recipes.base import Recipe
from training.report import confidence, mistakes, result_set
from zoo.classifier import named
from zoo.presets import weight_file

CLASSES = ("red", "green", "blue")
RECIPE = Recipe("colors", batch_size=10, epochs=1, warmup_epochs=0, augmentations=())


def model(classes=CLASSES, name="colors"):
    """The class is the brightest channel; exactly, for logits are channel means."""
    images = keras.Input((4, 4, 3), name="images")
    head = keras.layers.Dense(3, use_bias=False, name="head")
    logits = head(keras.layers.GlobalAveragePooling2D(name="pool")(images))
    result = named(keras.Model(images, logits, name=name), classes)
    head.set_weights([np.eye(3) / 8])
    return result


def colors(classes=CLASSES, count=30):
    rng = np.random.default_rng(0)
    names = rng.choice(classes, count)
    images = rng.integers(0, 128, (count, 4, 4, 3))
    for image, name in zip(images, names, strict=True):
        image[..., CLASSES.index(name)] += 127
    labels = np.array([classes.index(name) for name in names], "int32")
    return ImageData("colors", images.astype("uint8"), labels, tuple(classes))


def accuracy(rows):
    return {row["value"] for row in rows if row["metric"] == "accuracy"}


def scored(network, dataset, folder=None):
    if folder is None:
        return evaluate.evaluate(network, dataset, (1,), progress=False)
    return sweep.evaluate_all({"m": network}, [dataset], folder, (1,))


@pytest.mark.parametrize("given", [("green", "blue", "red"), ("blue", "Green")])
@pytest.mark.parametrize("stored", [False, True])
def test_classes_in_another_order_or_fewer_are_matched(given, stored, tmp_path):
    dataset = colors(tuple(name.lower() for name in given))
    dataset = dataclasses.replace(dataset, classes=given)
    assert accuracy(scored(model(), dataset, tmp_path if stored else None)) == {1.0}


@pytest.mark.parametrize("given", [("red", "green", "violet"), (*CLASSES, "violet")])
@pytest.mark.parametrize("stored", [False, True])
def test_other_classes_are_refused_by_name(given, stored, tmp_path):
    dataset = dataclasses.replace(colors(), classes=given)
    with pytest.raises(
        ValueError, match="classes of data set 'colors' .* model .*first has 'violet'"
    ):
        scored(model(), dataset, tmp_path if stored else None)


def test_each_model_has_its_own_order(tmp_path):
    network = model(("green", "red", "blue"), "other")
    kernel = network.get_layer("head").kernel
    kernel.assign(np.eye(3)[:, [1, 0, 2]] / 8)
    models = {"a": model(), "b": network}
    assert accuracy(sweep.evaluate_all(models, [colors()], tmp_path, (1,))) == {1.0}


@pytest.mark.parametrize("given", [("Red", "light green", "blue"), Numbers(3)])
def test_data_are_the_same_whatever_names_the_models_know(given, tmp_path):
    dataset = dataclasses.replace(colors(), classes=given)
    models = {
        "a": model(("red", "light_green", "blue"), "a"),
        "b": model(("Red", "light green", "blue"), "b"),
        "c": model((), "c"),
    }
    rows = sweep.evaluate_all(models, [dataset], tmp_path, (1,))
    assert accuracy(rows) == {1.0}
    assert {row["data"] for row in rows} == {fingerprint.of_named(dataset)[:12]}
    stored = confidence.Stored(result_set.Results(rows), tmp_path)
    shown = mistakes.Shown(stored, "colors", dataset)
    for name in models:
        np.testing.assert_array_equal(shown.of(name).labels, dataset.labels)
    others = dataclasses.replace(dataset, labels=1 - dataset.labels % 2)
    assert mistakes.Shown(stored, "colors", others).of("a") is None


def test_without_names_labels_are_numbers_and_that_is_said(caplog):
    caplog.set_level("INFO", logger="absl")
    unknown = model(())
    permuted = colors(("green", "blue", "red"))
    assert max(accuracy(scored(unknown, permuted))) < 0.1
    assert "labels of 'colors' are taken as the numbers" in caplog.text
    with pytest.raises(ValueError, match="knows 3 classes.*colors with 2"):
        scored(unknown, colors(("red", "green")))


def test_numbers_are_no_names(caplog):
    caplog.set_level("INFO", logger="absl")
    numbered = dataclasses.replace(colors(), classes=Numbers(3))
    assert accuracy(scored(model(), numbered)) == {1.0}
    assert "classes of 'colors' are not known: the labels of 'colors'" in caplog.text
    fewer = dataclasses.replace(colors(("red", "green")), classes=Numbers(2))
    assert accuracy(scored(model(), fewer)) == {1.0}
    assert copy.deepcopy(numbered).classes == Numbers(3) == ("0", "1", "2")
    with pytest.raises(ValueError, match="knows 3 classes.*colors with 4"):
        scored(model(), dataclasses.replace(colors(), classes=Numbers(4)))
    with pytest.raises(ValueError, match="first has '0', '1', '2'"):
        scored(model(), dataclasses.replace(colors(), classes=("0", "1", "2")))


def test_a_model_of_others_is_told_its_classes(tmp_path):
    path = str(tmp_path / "theirs.keras")
    layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    theirs = keras.Sequential([keras.Input((4, 4, 3)), *layers])
    theirs.layers[-1].set_weights([np.eye(3) / 8, np.zeros(3)])
    theirs.save(path)
    dataset = colors(("blue", "green", "red"))
    assert accuracy(scored(external_models.load(path, classes=CLASSES), dataset)) == {
        1.0
    }
    (tmp_path / "names.txt").write_text("red\ngreen\n\nblue\n")
    names = label_files.given([str(tmp_path / "names.txt")])
    assert names == label_files.given(CLASSES) == CLASSES
    with pytest.raises(ValueError, match="must be 3 different names"):
        external_models.load(path, classes=("red", "green"))
    model().save(path)
    assert external_models.load(path).classes == CLASSES
    with pytest.raises(ValueError, match="has the classes red, .*classes=red,blue,gr"):
        external_models.load(path, classes=("red", "blue", "green"))


def test_a_training_goes_by_names_and_tells_them(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(trainer, "compile_model", lambda *_: 1 / 0)
    original = class_names.relabeled
    monkeypatch.setattr(
        class_names, "relabeled", lambda *a: seen.append(original(*a)) or seen[-1]
    )
    train, held_out = colors(), colors(("blue", "red", "green"))
    network = model(())
    with pytest.raises(ZeroDivisionError):
        trainer.train(network, RECIPE, train, tmp_path, held_out)
    assert network.classes == CLASSES
    assert [data.classes for data in seen] == [CLASSES] * 2
    names = np.array(held_out.classes)[held_out.labels]
    np.testing.assert_array_equal(np.array(CLASSES)[seen[1].labels], names)
    wrong = dataclasses.replace(held_out, classes=("blue", "red", "white"))
    with pytest.raises(
        ValueError, match="data set 'colors'.*only the first has 'white"
    ):
        trainer.train(network, RECIPE, train, tmp_path, wrong)
    with pytest.raises(ValueError, match="model 'colors'.*only the first has 'white'"):
        trainer.train(network, RECIPE, wrong, tmp_path)


def test_a_head_keeps_its_classes_in_another_order(tmp_path, monkeypatch):
    import zoo

    trained = zoo.build("resnet20", (16, 16, 3), 3, classes=CLASSES)
    weight_file.save_weights(trained, tmp_path / "model.safetensors")
    before = trained.get_layer("head").kernel.numpy()
    for classes, places in (
        (("Blue", "red", "green"), [2, 0, 1]),
        (CLASSES, [0, 1, 2]),
    ):
        again, provenance = initial_weights.load(
            initial_weights.find(str(tmp_path)), "resnet20", (16, 16, 3), classes
        )
        kernel = again.get_layer("head").kernel
        np.testing.assert_array_equal(kernel, before[:, places])
        assert (provenance["head"], again.classes) == ("kept", classes)
    again, provenance = initial_weights.load(
        initial_weights.find(str(tmp_path)),
        "resnet20",
        (16, 16, 3),
        ("blue", "red", "white"),
    )
    assert provenance["head"] == "new"
    assert not np.isin(again.get_layer("head").kernel, before).any()
